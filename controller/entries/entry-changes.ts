import { randomUUID } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { rankOf } from '../identity/powers.ts';
import type { Precedence } from '../identity/precedence.ts';
import type { DesiredEntry } from '../ports.ts';
import type { IdentifiedEntry } from './entry-client.ts';
import type { ActualEntry } from './entry-wire.ts';
import type { KnownEntries } from './known-entries.ts';

/** What ought to be there: the identity index. */
export interface DesiredEntries {
  desired(key: string): Desired | undefined;
  keys(): Iterable<string>;
}

/** One entry that ought to be there. */
export interface Desired {
  readonly entry: DesiredEntry;
  readonly declarer: Precedence;
  /** `namespace/name`; empty for a static one. */
  readonly pod: string;
}

/** One entry that is to go. */
export interface Removal {
  readonly id: string;
  /** Undefined for an entry that is there a second time. */
  readonly key: string | undefined;
}

/** What has to be written for some entries to be what they ought to be. */
export interface Changes {
  readonly create: readonly IdentifiedEntry[];
  readonly update: readonly IdentifiedEntry[];
  readonly remove: readonly Removal[];
  /** The keys of those that are as they ought to be. */
  readonly inLine: readonly string[];
}

/** What of the changes makes entries what they ought to be. */
export type Writes = Pick<Changes, 'create' | 'update'>;

/** The writes of entries without power over the CA, and those of entries with it. */
export function byPower({ create, update }: Writes): readonly [plain: Writes, powerful: Writes] {
  const isPowerful = ({ entry }: IdentifiedEntry): boolean => rankOf(entry) > 0;
  const isPlain = (write: IdentifiedEntry): boolean => !isPowerful(write);
  return [
    { create: create.filter(isPlain), update: update.filter(isPlain) },
    { create: create.filter(isPowerful), update: update.filter(isPowerful) },
  ];
}

/** What the changes are made from. */
export interface Compared {
  readonly desired: Pick<DesiredEntries, 'desired'>;
  readonly known: Pick<KnownEntries, 'get' | 'differs'>;
  /** What is not deleted, although nothing declares it. */
  readonly held: { has(key: string): boolean };
  /** What the IDs of new entries begin with. */
  readonly prefix: string;
}

/** Compares what ought to be with what is known to be there. */
export function changesOf(keys: readonly string[], { desired, known, held, prefix }: Compared): Changes {
  const create: IdentifiedEntry[] = [];
  const update: IdentifiedEntry[] = [];
  const remove: Removal[] = [];
  const inLine: string[] = [];
  for (const key of keys) {
    const entry = desired.desired(key)?.entry;
    const actual = known.get(key);
    if (entry !== undefined && actual === undefined) create.push({ id: `${prefix}${randomUUID()}`, entry });
    else if (entry === undefined && actual !== undefined && !held.has(key)) remove.push({ id: actual.id, key });
    else if (entry !== undefined && actual !== undefined && known.differs(entry)) update.push({ id: actual.id, entry });
    else inLine.push(key);
  }
  return { create, update, remove, inLine };
}

/** What is told of an entry that cannot be made, because somebody else's is there. */
export function inTheWay({ id }: ActualEntry): IdentityError {
  const message = `there is an entry with the same SPIFFE ID, parent and selectors that this controller did not make (${id}); delete it, and it will be made here`;
  return new IdentityError('already_exists', message);
}

/** What is told of entries that begin with our prefix and are kept although nothing declares them. */
export function heldEntries(count: number, prefix: string): string {
  return (
    `${count} entries at the CA begin with "${prefix}" and nothing here declares them; they are kept, since they may be another controller's. ` +
    'If one has the same entryIdPrefix, give one of the two another; if resources are missing here, bring them back; ' +
    'if the entries are to go, see what --plan says and start with massDeletion: allow'
  );
}
