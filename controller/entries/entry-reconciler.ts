import type { Clock } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import type { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import { fieldsFingerprint, selectorsOfKey } from '../identity/entry-key.ts';
import type { Precedence } from '../identity/precedence.ts';
import type { DesiredEntry, Problem } from '../ports.ts';
import { runTogether } from '../run-together.ts';
import { CYCLE, inBatches, takeSome } from './batches.ts';
import { DriftWatch } from './drift-watch.ts';
import type { CreateResult, EntryClient, IdentifiedEntry, UpdateResult } from './entry-client.ts';
import type { ActualEntry } from './entry-wire.ts';
import {
  byPower,
  changesOf,
  heldEntries,
  inTheWay,
  type Desired,
  type DesiredEntries,
  type Removal,
  type Writes,
} from './entry-changes.ts';
import { Failures } from './failures.ts';
import { HeldDeletions, type MassDeletion } from './held-deletions.ts';
import { KnownEntries, type Comparison } from './known-entries.ts';
import { Patience } from './patience.ts';

/** What {@link EntryReconciler} needs. */
export interface EntryReconcilerOptions {
  readonly desired: DesiredEntries;
  readonly client: Pick<EntryClient, 'list' | 'listRevisions' | 'get' | 'create' | 'update' | 'delete'>;
  /** What the IDs of our entries begin with, the dot included. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** How often what is at the CA is compared with what is known of it. */
  readonly driftCheckMs: number;
  /** What becomes of many entries that nothing declares. */
  readonly massDeletion: MassDeletion;
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

/**
 * Makes the CA's entries what they ought to be. What is there of ours is read once when {@link run} begins and known from then
 * on; each change is a key that is looked at again. Nothing is forgotten before the CA has acknowledged it.
 */
export class EntryReconciler {
  readonly #options: EntryReconcilerOptions;
  readonly #known = new KnownEntries();
  readonly #dirty = new Set<string>();
  readonly #failures: Failures;
  readonly #patience: Patience;
  readonly #drift: DriftWatch;
  /** What is not deleted although nothing declares it. */
  readonly held: HeldDeletions;
  #wake: () => void = () => {};
  #running = false;
  /** Whether everything has been brought into line once since {@link run} began. */
  readonly settled = new Current(false);
  readonly counts: WriteCounts = { created: 0, updated: 0, deleted: 0 };

  constructor(options: EntryReconcilerOptions) {
    this.#options = options;
    this.#patience = new Patience({ ...options, what: 'entries' });
    this.#drift = new DriftWatch({ ...options, check: (signal) => this.checkDrift(signal) });
    const describe = (count: number): string => heldEntries(count, options.prefix);
    this.held = new HeldDeletions({ ...options, kinOf: selectorsOfKey, describe });
    this.#failures = new Failures({
      clock: options.clock,
      reasons: { exists: 'EntryExists', refused: 'EntryRefused' },
      onDue: (key) => this.enqueue([key]),
      onChanged: options.onFailures,
    });
  }

  /** Why the CA cannot be written to at the moment. */
  get outage(): Source<IdentityError | undefined> {
    return this.#patience.outage;
  }

  /** How many keys wait to be looked at. */
  get queueLength(): number {
    return this.#dirty.size;
  }

  /** How many entries of ours are known to be at the CA. */
  get entryCount(): number {
    return this.#known.size;
  }

  /** The ID of an entry at the CA; undefined while it is not there. */
  entryId(key: string): string | undefined {
    return this.#known.get(key)?.id;
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
    this.#running = true;
    try {
      await this.#patience.until(signal, () => this.load(signal));
      this.enqueue(this.#options.desired.keys());
      this.enqueue(this.#known.keys());
      await runTogether([(ends) => this.#work(ends), (ends) => this.#drift.run(ends)], signal);
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
    this.#known.clear();
    const foreign = new Map<string, string>();
    for await (const page of this.#options.client.list(signal)) {
      for (const entry of page) {
        if (entry.id.startsWith(this.#options.prefix)) this.#known.found(entry, this.#keyOf(entry.key));
        else if (this.#options.desired.desired(entry.key) !== undefined) foreign.set(entry.key, entry.id);
      }
    }
    this.held.begin([...this.#known.keys()]);
    return foreign;
  }

  /** What would be written now. */
  plan(): { readonly create: readonly Desired[]; readonly update: readonly Desired[]; readonly delete: readonly ActualEntry[] } {
    const wanted = [...this.#options.desired.keys()].flatMap((key) => this.#options.desired.desired(key) ?? []);
    const create = wanted.filter(({ entry }) => this.#known.get(entry.key) === undefined);
    const update = wanted.filter(({ entry }) => this.#known.differs(entry));
    return {
      create,
      update,
      delete: [...this.#known.all()].filter(({ key }) => this.#options.desired.desired(key) === undefined),
    };
  }

  async #work(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      if (this.#dirty.size === 0 && this.#known.surplus.size === 0) {
        this.settled.set(true);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          if (signal.aborted) resolve();
        });
        continue;
      }
      await this.#patience.until(signal, () => this.#cycle(signal));
    }
  }

  /** Looks at some of the keys. Those that no answer came for are looked at again. */
  async #cycle(signal: AbortSignal): Promise<void> {
    const keys = takeSome(this.#dirty, CYCLE);
    try {
      const { desired, prefix } = this.#options;
      const isOver = (key: string): boolean => desired.desired(key) !== undefined || this.#known.get(key) === undefined;
      this.held.release(keys.filter(isOver));
      const compared = { desired, known: this.#known, held: this.held, prefix };
      const { create, update, remove, inLine } = changesOf(keys, compared);
      for (const key of inLine) this.#failures.clear(key);
      // A pod whose ID changes gets the new entry before it loses the old one.
      const [plain, powerful] = byPower({ create, update });
      await this.#write(plain, signal);
      const surplus = Iterator.from(this.#known.surplus)
        .take(CYCLE)
        .map((id) => ({ id, key: undefined }));
      await inBatches([...remove, ...surplus], (batch) => this.#delete(batch, signal));
      // An ID comes to have power when the entries that must not have it are gone.
      await this.#write(powerful, signal);
    } catch (error) {
      for (const key of keys) this.#dirty.add(key);
      throw error;
    }
  }

  async #write({ create, update }: Writes, signal: AbortSignal): Promise<void> {
    await inBatches(create, (batch) => this.#create(batch, signal));
    await inBatches(update, (batch) => this.#update(batch, signal));
  }

  async #create(batch: readonly IdentifiedEntry[], signal: AbortSignal): Promise<void> {
    const results = await this.#options.client.create(batch, signal);
    for (const [index, result] of results.entries()) {
      const entry = batch[index]?.entry;
      if (entry !== undefined) this.#created(entry, result);
    }
  }

  #created({ key }: DesiredEntry, result: CreateResult): void {
    if (result.kind === 'refused') return this.#refused(key, result.error);
    const { actual } = result;
    if (!actual.id.startsWith(this.#options.prefix)) return this.#refused(key, inTheWay(actual));
    this.#failures.clear(key);
    this.#known.wrote(key, actual);
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
    if (result.kind === 'refused') return this.#refused(key, result.error);
    if (result.kind === 'gone') {
      this.#drift.ask();
      this.#known.gone(key);
      return this.enqueue([key]);
    }
    this.counts.updated += 1;
    this.#failures.clear(key);
    // A server that does not know all of the fields (custom claims at SPIRE's) took what it knows: asking again would not help.
    this.#known.wrote(key, { ...result.actual, fingerprint: fieldsFingerprint(entry) });
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
    this.#known.surplusGone(id);
    if (error?.code === 'not_found') {
      this.#drift.ask();
    } else if (error !== undefined) {
      this.#options.log.warn({ err: error, entry: id }, 'entry not deleted');
      if (key !== undefined) this.#failures.add(key, error);
      return;
    }
    this.counts.deleted += 1;
    if (key === undefined) return;
    this.#failures.clear(key);
    this.#known.gone(key);
    // It may have come to be wanted again meanwhile.
    if (this.#options.desired.desired(key) !== undefined) this.enqueue([key]);
  }

  #refused(key: string, error: IdentityError): void {
    this.#known.refused(key);
    const desired = this.#options.desired.desired(key);
    this.#options.log.warn({ err: error, spiffeId: desired?.entry.spiffeId, pod: desired?.pod }, 'entry refused');
    const problem = this.#failures.add(key, error, desired);
    if (desired !== undefined && problem !== undefined) this.#options.onRefused?.(desired, problem);
  }

  #forget(): void {
    this.#running = false;
    this.#known.clear();
    this.#dirty.clear();
    this.held.clear();
    this.#failures.clearAll();
    this.settled.set(false);
  }

  /** Compares what is at the CA with what is known of it; what differs is looked at again. */
  async checkDrift(signal: AbortSignal): Promise<void> {
    const { client, prefix, log } = this.#options;
    const keyOf = (key: string): string => this.#keyOf(key);
    const onDiffers: Comparison['onDiffers'] = ({ read, stale }) => {
      this.held.appeared(read);
      this.enqueue([...read, ...stale]);
    };
    const { changed, gone, unknown } = await this.#known.compare({ client, prefix, keyOf, onDiffers }, signal);
    if (changed + gone + unknown > 0) log.warn({ changed, gone, unknown }, 'somebody else wrote entries of this controller');
    this.#wake();
  }

  /** The text of a key that is held already, where there is one. */
  #keyOf(key: string): string {
    return this.#options.desired.desired(key)?.entry.key ?? key;
  }
}
