import type { Clock } from '../../core/clock.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { BundleSet } from './bundle-set.ts';
import type { EntryRecord, RecordView } from './entry-record.ts';
import type { AgentEntry, IdentityView, WorkloadIdentities, X509Identity } from './identities.ts';
import type { Lifetime } from '../../runtime/lifetime.ts';
import type { SelectorSet } from './selectors.ts';

/** The identities of all callers with one set of selectors; made and kept current by the cache. */
export class WorkloadView implements IdentityView, RecordView {
  readonly selectors: SelectorSet;
  readonly records = new Set<EntryRecord>();
  /** Whether an X509-SVID was asked for; entries without prefetch are signed only then. */
  wantsX509 = false;
  readonly #bundles: BundleSet;
  readonly #clock: Clock;
  readonly #listeners = new Set<(value: WorkloadIdentities) => void>();
  #value: WorkloadIdentities | undefined;
  #isDirty = true;
  #firstToExpire: Lifetime | undefined;

  constructor(selectors: SelectorSet, bundles: BundleSet, clock: Clock) {
    this.selectors = selectors;
    this.#bundles = bundles;
    this.#clock = clock;
  }

  get isWatched(): boolean {
    return this.#listeners.size > 0;
  }

  get value(): WorkloadIdentities {
    const present = this.#value;
    if (present !== undefined && !this.#isDirty && !this.#firstToExpire?.isExpired(this.#clock)) return present;
    this.#isDirty = false;
    const next = this.#compose();
    if (present !== undefined && isSame(present, next)) return present;
    this.#value = next;
    return next;
  }

  subscribe(listener: (value: WorkloadIdentities) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  markDirty(): void {
    this.#isDirty = true;
  }

  /** Tells the listeners, if what they were told last is no longer so. */
  publish(): void {
    if (this.#listeners.size === 0) return;
    const before = this.#value;
    const now = this.value;
    if (now !== before) for (const listener of this.#listeners) listener(now);
  }

  #compose(): WorkloadIdentities {
    const records = withUniqueHints([...this.records].sort(oldestFirst));
    const identities: X509Identity[] = [];
    let pending = 0;
    this.#firstToExpire = undefined;
    for (const record of records) {
      const { identity, lifetime } = record;
      if (identity === undefined || lifetime === undefined) {
        if (!record.attempted && record.isWanted) pending++;
      } else if (!lifetime.isExpired(this.#clock)) {
        identities.push(identity);
        this.#noteExpiry(lifetime);
      }
    }
    const entries = records.map(({ entry }) => entry);
    return { identities, entries, pending, bundle: this.#bundles.own, federatedBundles: this.#federatedWith(entries) };
  }

  #noteExpiry(lifetime: Lifetime): void {
    if (this.#firstToExpire === undefined || lifetime.expiresAtMs < this.#firstToExpire.expiresAtMs)
      this.#firstToExpire = lifetime;
  }

  #federatedWith(entries: readonly AgentEntry[]): ReadonlyMap<string, Bundle> {
    const names = [...new Set(entries.flatMap(({ federatesWith }) => federatesWith))].sort();
    const found = names.map((name) => [name, this.#bundles.federated.get(name)] as const);
    return new Map(found.filter((pair): pair is readonly [string, Bundle] => pair[1] !== undefined));
  }
}

function oldestFirst({ entry: a }: EntryRecord, { entry: b }: EntryRecord): number {
  return a.createdAtSeconds - b.createdAtSeconds || (a.id < b.id ? -1 : 1);
}

// Workload API §5.2.1: a hint that is set must be unique in a response. As in SPIRE, the oldest entry keeps it.
function withUniqueHints(oldestFirst: readonly EntryRecord[]): readonly EntryRecord[] {
  const hints = new Set<string>();
  return oldestFirst.filter(({ entry: { hint } }) => {
    if (hint === '') return true;
    if (hints.has(hint)) return false;
    hints.add(hint);
    return true;
  });
}

function isSame(a: WorkloadIdentities, b: WorkloadIdentities): boolean {
  return (
    a.pending === b.pending &&
    a.bundle === b.bundle &&
    sameItems(a.identities, b.identities) &&
    sameItems(a.entries, b.entries) &&
    sameItems([...a.federatedBundles.values()], [...b.federatedBundles.values()])
  );
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}
