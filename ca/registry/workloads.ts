import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { isNodeAlias } from '../model.ts';
import type { Entry } from '../model.ts';
import { metadataOfEntry, saysNothing } from '../entry-metadata.ts';
import { RevisionLog } from './revision-log.ts';

/** What all entries of a SPIFFE ID agree on. */
export interface Workload {
  readonly spiffeId: string;
  /** Never empty. */
  readonly metadata: WorkloadMetadata;
  /** Of the store; may be later than the last change of it. */
  readonly revision: number;
}

/** How many entries of a SPIFFE ID say something. Each thing said is one object, whoever says it. */
interface Tally {
  readonly metadata: WorkloadMetadata;
  readonly count: number;
}

/** Most IDs have one entry, and nearly all have entries that say the same: so this is a list of one. */
type Tallies = readonly Tally[];

/** How many IDs that are gone are remembered for agents that resume. */
const MAX_GONE = 50_000;

/** What the registrations say of the workload behind each SPIFFE ID, kept up to date entry by entry. */
export class Workloads {
  readonly #tallies = new Map<string, Tallies>();
  readonly #workloads = new Map<string, Workload>();
  readonly #said = new Map<string, WorkloadMetadata>();
  readonly #log = new RevisionLog();
  #all: readonly Workload[] | undefined;

  get size(): number {
    return this.#workloads.size;
  }

  get(spiffeId: string): Workload | undefined {
    return this.#workloads.get(spiffeId);
  }

  /** All of them: one list for all who ask, until something changes. */
  all(): readonly Workload[] {
    return (this.#all ??= [...this.#workloads.values()]);
  }

  /** IDs whose workload changed or went after a revision; may name others. */
  changedSince(revision: number): Iterable<string> {
    return this.#log.since(revision);
  }

  /** Counts an entry out and its next state in. @returns whether that changes what is known of an ID */
  replace(before: Entry | undefined, after: Entry | undefined, revision: number): boolean {
    const isLeft = before !== undefined && this.#count(before, -1, revision);
    const isEntered = after !== undefined && this.#count(after, 1, revision);
    return isLeft || isEntered;
  }

  /** Notes that what is known of an entry's ID may have changed, unseen from here. */
  touch(entry: Entry, revision: number): void {
    const spiffeId = entry.spiffeId.toString();
    if (isNodeAlias(entry) || (!this.#workloads.has(spiffeId) && saysNothing(entry))) return;
    this.#log.touch(spiffeId, revision);
  }

  /** Drops what is remembered of the gone when that is too much. @returns the revision up to which that is unknown now, or 0 */
  forgetGone(): number {
    if (this.#log.size - this.#workloads.size <= MAX_GONE) return 0;
    return this.#log.forget((spiffeId) => !this.#workloads.has(spiffeId));
  }

  #count(entry: Entry, by: 1 | -1, revision: number): boolean {
    if (isNodeAlias(entry)) return false;
    const spiffeId = entry.spiffeId.toString();
    const tallies = counted(this.#tallies.get(spiffeId) ?? [], this.#sameAs(metadataOfEntry(entry)), by);
    if (tallies.length === 0) this.#tallies.delete(spiffeId);
    else this.#tallies.set(spiffeId, tallies);
    return this.#put(spiffeId, agreed(tallies), revision);
  }

  #put(spiffeId: string, metadata: WorkloadMetadata | undefined, revision: number): boolean {
    const before = this.#workloads.get(spiffeId)?.metadata;
    if (before?.namespace === metadata?.namespace && before?.serviceAccount === metadata?.serviceAccount) return false;
    if (metadata === undefined) this.#workloads.delete(spiffeId);
    else this.#workloads.set(spiffeId, { spiffeId, metadata: this.#sameAs(metadata), revision });
    this.#all = undefined;
    this.#log.touch(spiffeId, revision);
    return true;
  }

  #sameAs(metadata: WorkloadMetadata): WorkloadMetadata {
    const key = `${metadata.namespace ?? ''}/${metadata.serviceAccount ?? ''}`;
    const known = this.#said.get(key);
    if (known !== undefined) return known;
    if (this.#said.size > MAX_GONE) this.#said.clear();
    this.#said.set(key, metadata);
    return metadata;
  }
}

function counted(tallies: Tallies, metadata: WorkloadMetadata, by: 1 | -1): Tallies {
  const before = tallies.find((tally) => isSame(tally.metadata, metadata));
  const count = (before?.count ?? 0) + by;
  const others = tallies.filter((tally) => tally !== before);
  return count > 0 ? [...others, { metadata, count }] : others;
}

function isSame(one: WorkloadMetadata, other: WorkloadMetadata): boolean {
  return one.namespace === other.namespace && one.serviceAccount === other.serviceAccount;
}

/** The parts on which all agree; undefined: there is none. */
function agreed(tallies: Tallies): WorkloadMetadata | undefined {
  const [first, ...others] = tallies.map(({ metadata }) => metadata);
  if (first === undefined) return undefined;
  const { namespace, serviceAccount } = first;
  const hasNamespace = namespace !== undefined && others.every((other) => other.namespace === namespace);
  const hasAccount = serviceAccount !== undefined && others.every((other) => other.serviceAccount === serviceAccount);
  if (!hasNamespace && !hasAccount) return undefined;
  return { ...(hasNamespace ? { namespace } : {}), ...(hasAccount ? { serviceAccount } : {}) };
}
