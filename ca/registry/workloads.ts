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

/** How many entries of a SPIFFE ID say something. */
interface Tally {
  readonly metadata: WorkloadMetadata;
  readonly count: number;
}

/** What the entries of an ID say. Most IDs have one entry: then it is what that says, without a list around it. */
type Said = WorkloadMetadata | readonly Tally[];

const NOTHING: WorkloadMetadata = {};

/** What {@link Workloads.all} gives. */
export interface AllWorkloads {
  readonly shared: readonly Workload[];
  /** New or other than in `shared`. */
  readonly changed: readonly Workload[];
  /** IDs that may be in `shared` and are gone. */
  readonly removed: readonly string[];
}

/** How many IDs that are gone are remembered for agents that resume. */
const MAX_GONE = 50_000;

/** What the registrations say of the workload behind each SPIFFE ID, kept up to date entry by entry. */
export class Workloads {
  readonly #said = new Map<string, Said>();
  readonly #workloads = new Map<string, Workload>();
  readonly #log = new RevisionLog();
  #base: readonly Workload[] = [];
  /** IDs whose workload changed or went since the base was made. */
  readonly #sinceBase = new Set<string>();

  get size(): number {
    return this.#workloads.size;
  }

  get(spiffeId: string): Workload | undefined {
    return this.#workloads.get(spiffeId);
  }

  /**
   * All of them, as a list that all share who ask, and what changed since it was made: so that a thousand agents that come at once
   * are sent the same bytes, also while something changes.
   */
  all(): AllWorkloads {
    if (this.#base.length === 0 || this.#sinceBase.size * 4 > this.#base.length) {
      this.#base = [...this.#workloads.values()];
      this.#sinceBase.clear();
    }
    const changed = [...this.#sinceBase].map((spiffeId) => [spiffeId, this.#workloads.get(spiffeId)] as const);
    return {
      shared: this.#base,
      changed: changed.map(([, workload]) => workload).filter((workload) => workload !== undefined),
      removed: changed.filter(([, workload]) => workload === undefined).map(([spiffeId]) => spiffeId),
    };
  }

  /** IDs whose workload changed or went after a revision; may name others. */
  changedSince(revision: number): Iterable<string> {
    return this.#log.since(revision);
  }

  /** A place in the order of changes; see {@link changedSinceMark}. */
  get mark(): number {
    return this.#log.mark;
  }

  /** The same after a place in the order of changes: for who was told of all up to there. */
  changedSinceMark(mark: number): Iterable<string> {
    return this.#log.sinceMark(mark);
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
    const tallies = counted(talliesOf(this.#said.get(spiffeId)), metadataOfEntry(entry), by);
    const [first] = tallies;
    if (first === undefined) this.#said.delete(spiffeId);
    else if (tallies.length > 1 || first.count > 1) this.#said.set(spiffeId, tallies);
    else this.#said.set(spiffeId, isSame(first.metadata, NOTHING) ? NOTHING : first.metadata);
    return this.#put(spiffeId, agreed(tallies), revision);
  }

  #put(spiffeId: string, metadata: WorkloadMetadata | undefined, revision: number): boolean {
    const before = this.#workloads.get(spiffeId)?.metadata;
    if (before?.namespace === metadata?.namespace && before?.serviceAccount === metadata?.serviceAccount) return false;
    if (metadata === undefined) this.#workloads.delete(spiffeId);
    else this.#workloads.set(spiffeId, { spiffeId, metadata, revision });
    // Without a base nobody has asked yet, as at a start.
    if (this.#base.length > 0) this.#sinceBase.add(spiffeId);
    this.#log.touch(spiffeId, revision);
    return true;
  }
}

function talliesOf(said: Said | undefined): readonly Tally[] {
  if (said === undefined) return [];
  return isList(said) ? said : [{ metadata: said, count: 1 }];
}

// Apart, because the compiler does not take a readonly array for an array.
function isList(said: Said): said is readonly Tally[] {
  return Array.isArray(said);
}

function counted(tallies: readonly Tally[], metadata: WorkloadMetadata, by: 1 | -1): readonly Tally[] {
  const before = tallies.find((tally) => isSame(tally.metadata, metadata));
  const count = (before?.count ?? 0) + by;
  const others = tallies.filter((tally) => tally !== before);
  return count > 0 ? [...others, { metadata, count }] : others;
}

function isSame(one: WorkloadMetadata, other: WorkloadMetadata): boolean {
  return one.namespace === other.namespace && one.serviceAccount === other.serviceAccount;
}

/** The parts on which all agree; undefined: there is none. */
function agreed(tallies: readonly Tally[]): WorkloadMetadata | undefined {
  const [first, ...others] = tallies.map(({ metadata }) => metadata);
  if (first === undefined) return undefined;
  const { namespace, serviceAccount } = first;
  const hasNamespace = namespace !== undefined && others.every((other) => other.namespace === namespace);
  const hasAccount = serviceAccount !== undefined && others.every((other) => other.serviceAccount === serviceAccount);
  if (!hasNamespace && !hasAccount) return undefined;
  if (others.length === 0) return first;
  return { ...(hasNamespace ? { namespace } : {}), ...(hasAccount ? { serviceAccount } : {}) };
}
