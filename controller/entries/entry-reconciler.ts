import { randomUUID } from 'node:crypto';
import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import { fieldsFingerprint } from '../identity/entry-key.ts';
import type { Precedence } from '../identity/precedence.ts';
import type { DesiredEntry, Problem } from '../ports.ts';
import type { CreateResult, EntryClient, IdentifiedEntry, UpdateResult } from './entry-client.ts';
import type { ActualEntry } from './entry-wire.ts';
import { Failures } from './failures.ts';

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

/** What {@link EntryReconciler} needs. */
export interface EntryReconcilerOptions {
  readonly desired: DesiredEntries;
  readonly client: EntryClient;
  /** What the IDs of our entries begin with, the dot included. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** How often what is at the CA is compared with what is known of it. */
  readonly driftCheckMs: number;
  /** Told of each entry that has just been made for a pod. */
  readonly onCreated?: (pod: string) => void;
  /** Told of each entry that the CA refuses, each time. */
  readonly onRefused?: (desired: Desired, problem: Problem) => void;
  /** Told when the failures of a declaring object changed. */
  readonly onFailures: (declarer: Precedence) => void;
}

/** How many entries were written. */
export interface WriteCounts {
  created: number;
  updated: number;
  deleted: number;
}

interface Removal {
  readonly id: string;
  /** Undefined for an entry that is there a second time. */
  readonly key: string | undefined;
}

const BATCH = 200;
const IN_FLIGHT = 4;
const CYCLE = BATCH * IN_FLIGHT;
/** No request of a process that no longer leads is under way for longer. */
const LATE_WRITES_MS = 10_000;
const OUTAGE_BACKOFF = { initialMs: 100, maxMs: 10_000 };

/**
 * Makes the CA's entries what they ought to be. What is there of ours is read once when {@link run} begins and known from then
 * on; each change is a key that is looked at again. Nothing is forgotten before the CA has acknowledged it.
 */
export class EntryReconciler {
  readonly #options: EntryReconcilerOptions;
  /** What is at the CA, by key. */
  readonly #actual = new Map<string, ActualEntry>();
  /** Entries of ours that are there a second time: to be deleted. */
  readonly #surplus = new Set<string>();
  readonly #dirty = new Set<string>();
  readonly #failures: Failures;
  readonly #outageBackoff = new Backoff(OUTAGE_BACKOFF);
  /** The keys written since a drift check began to read. */
  #written: Set<string> | undefined;
  #wake: () => void = () => {};
  #running = false;
  /** Why the CA cannot be written to at the moment. */
  readonly outage = new Current<IdentityError | undefined>(undefined);
  /** Whether everything has been brought into line once since {@link run} began. */
  readonly settled = new Current(false);
  readonly counts: WriteCounts = { created: 0, updated: 0, deleted: 0 };

  constructor(options: EntryReconcilerOptions) {
    this.#options = options;
    this.#failures = new Failures({
      clock: options.clock,
      onDue: (key) => this.enqueue([key]),
      onChanged: options.onFailures,
    });
  }

  /** How many keys wait to be looked at. */
  get queueLength(): number {
    return this.#dirty.size;
  }

  /** How many entries of ours are known to be at the CA. */
  get entryCount(): number {
    return this.#actual.size;
  }

  /** The ID of an entry at the CA; undefined while it is not there. */
  entryId(key: string): string | undefined {
    return this.#actual.get(key)?.id;
  }

  /** Why entries of a declaring object are not at the CA, or not as declared. */
  failuresOf(declarerKey: string): readonly Problem[] {
    return this.#failures.of(declarerKey);
  }

  /** Has these keys looked at again; of no effect while nobody runs it, because a run begins with all. */
  enqueue(keys: Iterable<string>): void {
    if (!this.#running) return;
    for (const key of keys) this.#dirty.add(key);
    if (this.#dirty.size > 0) this.#wake();
  }

  /** Tries again at once what was refused; to be called when what it was refused for may have changed. */
  retryFailures(): void {
    this.enqueue(this.#failures.keys());
  }

  /** Reads what is at the CA and keeps it in line until the signal aborts. To be run by one process at a time. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#wake();
    signal.addEventListener('abort', stop, { once: true });
    using stack = new DisposableStack();
    stack.defer(() => signal.removeEventListener('abort', stop));
    this.#running = true;
    try {
      await this.#patiently(signal, () => this.load(signal));
      this.enqueue(this.#options.desired.keys());
      this.enqueue(this.#actual.keys());
      const drift = this.#watchDrift(signal);
      await this.#work(signal);
      await drift;
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#forget();
    }
  }

  /**
   * Reads what is at the CA of ours.
   *
   * @returns the IDs of entries that are not ours, by key, as far as an entry that ought to be there would meet one
   */
  async load(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    this.#actual.clear();
    this.#surplus.clear();
    const foreign = new Map<string, string>();
    for await (const page of this.#options.client.list(signal)) {
      for (const entry of page) {
        if (entry.id.startsWith(this.#options.prefix)) this.#know(entry);
        else if (this.#options.desired.desired(entry.key) !== undefined) foreign.set(entry.key, entry.id);
      }
    }
    return foreign;
  }

  /** What would be written now. */
  plan(): { readonly create: readonly Desired[]; readonly update: readonly Desired[]; readonly delete: readonly ActualEntry[] } {
    const wanted = [...this.#options.desired.keys()].flatMap((key) => this.#options.desired.desired(key) ?? []);
    const create = wanted.filter(({ entry }) => !this.#actual.has(entry.key));
    const update = wanted.filter(({ entry }) => this.#differs(entry));
    return {
      create,
      update,
      delete: [...this.#actual.values()].filter(({ key }) => this.#options.desired.desired(key) === undefined),
    };
  }

  async #work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#dirty.size === 0 && this.#surplus.size === 0) {
        this.settled.set(true);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          if (signal.aborted) resolve();
        });
        continue;
      }
      await this.#patiently(signal, () => this.#cycle(signal));
    }
  }

  /** Does something until it works; a failure of the CA as a whole is waited out. */
  async #patiently(signal: AbortSignal, attempt: () => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        await attempt();
        this.#outageBackoff.reset();
        if (this.outage.value !== undefined) this.#options.log.info('the ca takes entries again');
        this.outage.set(undefined);
        return;
      } catch (error) {
        if (signal.aborted || !isIdentityError(error)) throw error;
        if (this.outage.value?.message !== error.message) this.#options.log.warn({ err: error }, 'the ca does not take entries');
        this.outage.set(error);
        await sleep(this.#options.clock, this.#outageBackoff.nextMs(), signal);
      }
    }
  }

  /** Looks at some of the keys. Those that no answer came for are looked at again. */
  async #cycle(signal: AbortSignal): Promise<void> {
    const keys = takeSome(this.#dirty, CYCLE);
    try {
      const { create, update, remove } = this.#sort(keys);
      // A pod whose ID changes gets the new entry before it loses the old one.
      await inBatches(create, (batch) => this.#create(batch, signal));
      await inBatches(update, (batch) => this.#update(batch, signal));
      const surplus = Iterator.from(this.#surplus)
        .take(CYCLE)
        .map((id) => ({ id, key: undefined }));
      await inBatches([...remove, ...surplus], (batch) => this.#delete(batch, signal));
    } catch (error) {
      for (const key of keys) this.#dirty.add(key);
      throw error;
    }
  }

  #sort(keys: readonly string[]): {
    readonly create: readonly IdentifiedEntry[];
    readonly update: readonly IdentifiedEntry[];
    readonly remove: readonly Removal[];
  } {
    const create: IdentifiedEntry[] = [];
    const update: IdentifiedEntry[] = [];
    const remove: Removal[] = [];
    for (const key of keys) {
      const entry = this.#options.desired.desired(key)?.entry;
      const actual = this.#actual.get(key);
      if (entry === undefined && actual === undefined) this.#failures.clear(key);
      if (entry !== undefined && actual === undefined) create.push({ id: `${this.#options.prefix}${randomUUID()}`, entry });
      else if (entry === undefined && actual !== undefined) remove.push({ id: actual.id, key });
      else if (entry !== undefined && actual !== undefined) {
        if (this.#differs(entry)) update.push({ id: actual.id, entry });
        else this.#failures.clear(key);
      }
    }
    return { create, update, remove };
  }

  #differs(entry: DesiredEntry): boolean {
    const actual = this.#actual.get(entry.key);
    return actual !== undefined && actual.fingerprint !== fieldsFingerprint(entry);
  }

  async #create(batch: readonly IdentifiedEntry[], signal: AbortSignal): Promise<void> {
    const results = await this.#options.client.create(batch, signal);
    for (const [index, result] of results.entries()) {
      const entry = batch[index]?.entry;
      if (entry !== undefined) this.#created(entry, result);
    }
  }

  #created({ key }: DesiredEntry, result: CreateResult): void {
    this.#written?.add(key);
    if (result.kind === 'refused') return this.#fail(key, result.error);
    const { actual } = result;
    if (!actual.id.startsWith(this.#options.prefix)) {
      const message = `there is an entry with the same SPIFFE ID, parent and selectors that this controller did not make (${actual.id}); delete it, and it will be made here`;
      return this.#fail(key, new IdentityError('already_exists', message));
    }
    this.#failures.clear(key);
    // The key that is there already is kept, not a second text like it.
    this.#actual.set(key, { ...actual, key });
    if (result.kind === 'exists') return this.enqueue([key]);
    this.counts.created += 1;
    const pod = this.#options.desired.desired(key)?.pod ?? '';
    if (pod !== '') this.#options.onCreated?.(pod);
  }

  async #update(batch: readonly IdentifiedEntry[], signal: AbortSignal): Promise<void> {
    const results = await this.#options.client.update(batch, signal);
    for (const [index, result] of results.entries()) {
      const entry = batch[index]?.entry;
      if (entry !== undefined) this.#updated(entry, result);
    }
  }

  #updated(entry: DesiredEntry, result: UpdateResult): void {
    const { key } = entry;
    this.#written?.add(key);
    if (result.kind === 'refused') return this.#fail(key, result.error);
    if (result.kind === 'gone') {
      this.#actual.delete(key);
      return this.enqueue([key]);
    }
    this.counts.updated += 1;
    this.#failures.clear(key);
    // A server that does not know all of the fields (custom claims at SPIRE's) took what it knows: asking again would not help.
    this.#actual.set(key, { ...result.actual, fingerprint: fieldsFingerprint(entry) });
  }

  async #delete(removals: readonly Removal[], signal: AbortSignal): Promise<void> {
    const ids = removals.map(({ id }) => id);
    const errors = await this.#options.client.delete(ids, signal);
    for (const [index, error] of errors.entries()) {
      const removal = removals[index];
      if (removal !== undefined) this.#deleted(removal, error);
    }
  }

  #deleted({ id, key }: Removal, error: IdentityError | undefined): void {
    this.#surplus.delete(id);
    if (error !== undefined) {
      this.#options.log.warn({ err: error, entry: id }, 'entry not deleted');
      if (key !== undefined) this.#failures.add(key, error);
      return;
    }
    this.counts.deleted += 1;
    if (key === undefined) return;
    this.#written?.add(key);
    this.#failures.clear(key);
    this.#actual.delete(key);
    // It may have come to be wanted again meanwhile.
    if (this.#options.desired.desired(key) !== undefined) this.enqueue([key]);
  }

  #fail(key: string, error: IdentityError): void {
    const desired = this.#options.desired.desired(key);
    this.#options.log.warn({ err: error, spiffeId: desired?.entry.spiffeId, pod: desired?.pod }, 'entry refused');
    const problem = this.#failures.add(key, error, desired);
    if (desired !== undefined && problem !== undefined) this.#options.onRefused?.(desired, problem);
  }

  #know(entry: ActualEntry): void {
    if (this.#actual.has(entry.key)) this.#surplus.add(entry.id);
    else {
      const key = this.#options.desired.desired(entry.key)?.entry.key ?? entry.key;
      this.#actual.set(key, { ...entry, key });
    }
  }

  #forget(): void {
    this.#running = false;
    this.#actual.clear();
    this.#surplus.clear();
    this.#dirty.clear();
    this.#failures.clearAll();
    this.#written = undefined;
    this.settled.set(false);
  }

  async #watchDrift(signal: AbortSignal): Promise<void> {
    const { clock, driftCheckMs, log } = this.#options;
    // A write of whoever wrote before may arrive after the first list was read.
    for (let waitMs = Math.min(LATE_WRITES_MS, driftCheckMs); !signal.aborted; waitMs = driftCheckMs) {
      try {
        await sleep(clock, waitMs, signal);
        await this.checkDrift(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!isIdentityError(error)) throw error;
        log.warn({ err: error }, 'entries could not be compared');
      }
    }
  }

  /** Compares what is at the CA with what is known of it, by revisions; what differs is read and looked at again. */
  async checkDrift(signal: AbortSignal): Promise<void> {
    const written = new Set<string>();
    this.#written = written;
    const seen = new Map<string, bigint>();
    for await (const page of this.#options.client.listRevisions(signal)) {
      for (const { id, revision } of page) if (id.startsWith(this.#options.prefix)) seen.set(id, revision);
    }
    const stale = [...this.#actual.values()].filter(({ id, key, revision }) => !written.has(key) && seen.get(id) !== revision);
    const known = new Set(Iterator.from(this.#actual.values()).map(({ id }) => id));
    for (const { key } of stale) this.#actual.delete(key);
    const unknown = [...seen.keys()].filter((id) => !known.has(id) && !this.#surplus.has(id));
    const changed = stale.filter(({ id }) => seen.has(id)).map(({ id }) => id);
    for (const id of [...changed, ...unknown]) {
      const entry = await this.#options.client.get(id, signal);
      if (entry === undefined || written.has(entry.key)) continue;
      this.#know(entry);
      this.enqueue([entry.key]);
    }
    this.enqueue(stale.map(({ key }) => key));
    if (this.#written === written) this.#written = undefined;
    if (stale.length + unknown.length > 0)
      this.#options.log.info({ changed: stale.length, unknown: unknown.length }, 'entries differed');
    this.#wake();
  }
}

function takeSome(set: Set<string>, count: number): readonly string[] {
  const taken = Iterator.from(set).take(count).toArray();
  for (const each of taken) set.delete(each);
  return taken;
}

/** Works in batches, some of them at the same time. */
async function inBatches<T>(items: readonly T[], work: (batch: readonly T[]) => Promise<void>): Promise<void> {
  const batches = Array.from({ length: Math.ceil(items.length / BATCH) }, (_, index) =>
    items.slice(index * BATCH, (index + 1) * BATCH),
  );
  const outcomes = await Promise.allSettled(batches.map(work));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
