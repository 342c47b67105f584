import type { Clock, Timer } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { BundleSet } from './bundle-set.ts';
import { EntryIndex } from './entry-index.ts';
import { certificateContent, EntryRecord, type RecordView } from './entry-record.ts';
import type { AgentEntry, IdentitySource } from './identities.ts';
import type { SvidIssuer } from './issuer.ts';
import type { SelectorSet } from './selectors.ts';
import { isSignedByTainted } from './tainted.ts';
import { WorkloadView } from './workload-view.ts';
import { X509Signer } from './x509-signer.ts';

/** What {@link IdentityCache} is made from. */
export interface IdentityCacheOptions {
  /** The bundle of the agent's trust domain, as known from attestation. */
  readonly bundle: Bundle;
  readonly issuer: SvidIssuer;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told how long an entry that came while the agent was serving was without its X509-SVID, in milliseconds. */
  readonly onEntryServed?: (durationMs: number) => void;
}

/** What synchronisation delivers; it is put in force as one. */
export interface CacheUpdate {
  /** Whether this is the full state: what is not in it is gone. */
  readonly isSnapshot: boolean;
  readonly entries: readonly AgentEntry[];
  readonly removedEntries: readonly string[];
  readonly bundles: readonly Bundle[];
  readonly removedBundles: readonly string[];
}

// Callers that look alike share a view; views without a subscriber are kept for the next caller, up to this many.
const MAX_IDLE_VIEWS = 1_000;
// The wall clock is looked at this often at least, so that a step forward is noticed.
const MAX_WAIT_MS = 30_000;
const MIN_WAIT_MS = 500;
// A CA that still signs with a tainted authority is asked again after this long.
const RETRY_TAINTED_MS = 5_000;

/** Entries, X509-SVIDs and bundles of this node, and who is entitled to them. */
export class IdentityCache implements IdentitySource, Disposable {
  readonly bundles: BundleSet;
  readonly #options: IdentityCacheOptions;
  readonly #records = new Map<string, EntryRecord>();
  readonly #index = new EntryIndex();
  readonly #views = new Map<string, WorkloadView>();
  readonly #signer: X509Signer;
  #timer: Timer | undefined;
  #ready = false;

  constructor(options: IdentityCacheOptions) {
    this.#options = options;
    this.bundles = new BundleSet(options.bundle);
    const { issuer, clock, log } = options;
    this.#signer = new X509Signer({ issuer, clock, log, onAttempted: (records) => this.#afterSigning(records) });
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** How many entries and X509-SVIDs there are. */
  get counts(): { readonly entries: number; readonly x509Svids: number } {
    let x509Svids = 0;
    for (const { identity } of this.#records.values()) if (identity !== undefined) x509Svids++;
    return { entries: this.#records.size, x509Svids };
  }

  /** All entries of this agent. */
  *entries(): Generator<AgentEntry, void, undefined> {
    for (const { entry } of this.#records.values()) yield entry;
  }

  identitiesFor(selectors: SelectorSet): WorkloadView {
    const view = this.entitlementsOf(selectors);
    if (!view.wantsX509) {
      view.wantsX509 = true;
      this.#requestMissing(view);
    }
    if (view.value.pending > 0) this.#signer.hurry(view.records);
    return view;
  }

  /** The same view, for callers that need entries and bundles but no X509-SVID: nothing is signed for them. */
  entitlementsOf(selectors: SelectorSet): WorkloadView {
    const known = this.#views.get(selectors.key);
    if (known !== undefined) return known;
    const view = new WorkloadView(selectors, this.bundles, this.#options.clock);
    for (const record of this.#index.match(selectors)) link(view, record);
    this.#views.set(selectors.key, view);
    if (this.#views.size > MAX_IDLE_VIEWS) this.#dropIdleViews();
    return view;
  }

  /** Puts an update in force: tells who is concerned, and has signed what is new. */
  apply(update: CacheUpdate): void {
    const touched = new Set<RecordView>();
    this.#applyBundles(update, touched);
    const wanted = this.#applyEntries(update, touched);
    this.#ready ||= update.isSnapshot;
    for (const view of touched) view.markDirty();
    this.bundles.announce();
    this.#signer.enqueue(wanted);
    for (const view of touched) view.publish();
    this.#schedule();
  }

  /** Has signed at once what could not be signed before: the CA is in touch again. */
  retrySigning(): void {
    this.#signer.retryNow();
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#signer[Symbol.dispose]();
  }

  #applyBundles({ isSnapshot, bundles, removedBundles }: CacheUpdate, touched: Set<RecordView>): void {
    const own = this.bundles.own;
    let changed = false;
    for (const bundle of bundles) changed = this.bundles.put(bundle) || changed;
    const named = new Set(bundles.map(({ trustDomain }) => trustDomain.name));
    const gone = isSnapshot ? [...this.bundles.federated.keys()].filter((name) => !named.has(name)) : removedBundles;
    for (const name of gone) changed = this.bundles.remove(name) || changed;
    if (changed) for (const view of this.#views.values()) touched.add(view);
    if (this.bundles.own !== own) this.#replaceTainted(own);
  }

  #applyEntries({ isSnapshot, entries, removedEntries }: CacheUpdate, touched: Set<RecordView>): EntryRecord[] {
    const named = new Set(entries.map(({ id }) => id));
    const gone = isSnapshot ? [...this.#records.keys()].filter((id) => !named.has(id)) : removedEntries;
    for (const id of gone) this.#remove(id, touched);
    const { clock } = this.#options;
    return entries.map((entry) => this.#put(entry, touched)).filter((record) => record.needsSigning(clock));
  }

  #put(entry: AgentEntry, touched: Set<RecordView>): EntryRecord {
    const known = this.#records.get(entry.id);
    if (known === undefined) return this.#add(entry, touched);
    if (isSameEntry(known.entry, entry)) return known;
    this.#unlink(known, touched);
    replaceEntry(known, entry);
    this.#link(known, touched);
    return known;
  }

  #add(entry: AgentEntry, touched: Set<RecordView>): EntryRecord {
    const record = new EntryRecord(entry);
    this.#records.set(entry.id, record);
    this.#link(record, touched);
    // Those of the first snapshot say how fast an agent starts; the rest, how fast an identity reaches its workload.
    if (this.#ready && record.isWanted) record.awaitedSinceMs = this.#options.clock.monotonicMs();
    return record;
  }

  #remove(id: string, touched: Set<RecordView>): void {
    const record = this.#records.get(id);
    if (record === undefined) return;
    this.#records.delete(id);
    this.#signer.remove(record);
    this.#unlink(record, touched);
  }

  #link(record: EntryRecord, touched: Set<RecordView>): void {
    this.#index.add(record);
    for (const view of this.#views.values()) {
      if (!view.selectors.hasAll(record.entry.selectors)) continue;
      link(view, record);
      touched.add(view);
    }
  }

  #unlink(record: EntryRecord, touched: Set<RecordView>): void {
    this.#index.remove(record);
    for (const view of record.views) {
      view.records.delete(record);
      touched.add(view);
    }
    record.views.clear();
  }

  #afterSigning(records: readonly EntryRecord[]): void {
    // A taint may have arrived while the answer was under way.
    for (const record of records) if (this.#isTainted(record)) this.#replaceSoon(record);
    this.#publish(records);
    this.#observeServed(records);
    this.#schedule();
  }

  #observeServed(records: readonly EntryRecord[]): void {
    for (const record of records) {
      if (record.awaitedSinceMs === undefined || record.identity === undefined) continue;
      this.#options.onEntryServed?.(this.#options.clock.monotonicMs() - record.awaitedSinceMs);
      record.awaitedSinceMs = undefined;
    }
  }

  #publish(records: Iterable<EntryRecord>): void {
    const touched = new Set<RecordView>();
    for (const record of records) for (const view of record.views) touched.add(view);
    for (const view of touched) view.markDirty();
    for (const view of touched) view.publish();
  }

  #requestMissing(view: WorkloadView): void {
    view.markDirty();
    this.#signer.enqueue([...view.records].filter((record) => record.needsSigning(this.#options.clock)));
  }

  /** An authority that has become tainted: what it signed is signed anew, and served until then. */
  #replaceTainted(before: Bundle): void {
    const known = new Set(taintedKeys(before));
    if (taintedKeys(this.bundles.own).every((key) => known.has(key))) return;
    const stale = [...this.#records.values()].filter((record) => this.#isTainted(record));
    for (const record of stale) record.stale = true;
    this.#options.log.warn({ svids: stale.length }, 'an x509 authority is tainted; replacing what it signed');
    this.#signer.enqueue(stale);
  }

  #isTainted({ identity }: EntryRecord): boolean {
    return identity !== undefined && isSignedByTainted(identity.certificatesDer, this.bundles.own);
  }

  #replaceSoon(record: EntryRecord): void {
    record.stale = true;
    record.retryAtMonotonicMs = this.#options.clock.monotonicMs() + RETRY_TAINTED_MS;
  }

  /** Renews what is due, drops what has expired, and sets the timer for the next. */
  #tick(): void {
    const { clock } = this.#options;
    const expired: EntryRecord[] = [];
    for (const record of this.#records.values()) {
      if (!record.lifetime?.isExpired(clock)) continue;
      record.drop();
      expired.push(record);
    }
    this.#publish(expired);
    this.#signer.enqueue([...this.#records.values()].filter((record) => record.needsSigning(clock)));
    this.#schedule();
  }

  #schedule(): void {
    const { clock } = this.#options;
    let waitMs = MAX_WAIT_MS;
    for (const record of this.#records.values()) waitMs = Math.min(waitMs, record.dueInMs(clock));
    this.#timer?.cancel();
    // What is due is in the queue already; the floor keeps an unreachable CA from making this a busy loop.
    this.#timer = clock.setTimer(Math.max(waitMs, MIN_WAIT_MS), () => this.#tick());
  }

  #dropIdleViews(): void {
    for (const [key, view] of this.#views) {
      if (this.#views.size <= MAX_IDLE_VIEWS * 0.9) return;
      if (view.isWatched) continue;
      this.#views.delete(key);
      for (const record of view.records) record.views.delete(view);
    }
  }
}

function link(view: WorkloadView, record: EntryRecord): void {
  view.records.add(record);
  record.views.add(view);
}

function replaceEntry(record: EntryRecord, entry: AgentEntry): void {
  const before = record.entry;
  record.entry = entry;
  if (!before.spiffeId.equals(entry.spiffeId)) {
    // An SVID of another ID must not be served another moment.
    record.drop();
    record.attempted = false;
  } else if (certificateContent(before) !== certificateContent(entry)) {
    record.stale = record.identity !== undefined;
  }
  record.retryAtMonotonicMs = 0;
  if (record.identity !== undefined) record.identity = { ...record.identity, entry, hint: entry.hint };
}

function isSameEntry(a: AgentEntry, b: AgentEntry): boolean {
  if (a === b) return true;
  return a.revisionNumber === b.revisionNumber && a.createdAtSeconds === b.createdAtSeconds && comparable(a) === comparable(b);
}

function comparable(entry: AgentEntry): string {
  return JSON.stringify({ ...entry, revisionNumber: '' });
}

function taintedKeys(bundle: Bundle): string[] {
  return bundle.x509Authorities.filter(({ tainted }) => tainted).map(({ der }) => Buffer.from(der).toString('base64'));
}
