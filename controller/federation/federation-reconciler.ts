import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { isIdentityError, type IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Problem } from '../ports.ts';
import { relationshipText, type FederationClient } from './federation-client.ts';
import type { FederationIndex } from './federation-index.ts';

/** Remembers which relationships this controller made: a trust domain that somebody federated with by hand is left alone. */
export interface OwnedRelationships {
  load(): Promise<ReadonlySet<string>>;
  save(trustDomains: ReadonlySet<string>): Promise<void>;
}

/** What {@link FederationReconciler} needs. */
export interface FederationReconcilerOptions {
  readonly index: FederationIndex;
  readonly client: FederationClient;
  readonly owned: OwnedRelationships;
  readonly clock: Clock;
  readonly log: Logger;
  readonly driftCheckMs: number;
  /** Told when the state of a trust domain changed. */
  readonly onChanged: (trustDomain: string) => void;
  /** Told when there is a bundle that was not there before: entries that federate with it may be made now. */
  readonly onFederated: () => void;
}

const BACKOFF = { initialMs: 500, maxMs: 60_000 };

/** Makes the CA's federation relationships what the resources say. They are few: each change looks at all of them. */
export class FederationReconciler {
  readonly #options: FederationReconcilerOptions;
  readonly #backoff = new Backoff(BACKOFF);
  readonly #failures = new Map<string, Problem>();
  readonly #inForce = new Map<string, string>();
  #wake: () => void = () => {};
  #dirty = true;

  constructor(options: FederationReconcilerOptions) {
    this.#options = options;
  }

  /** Whether the relationship is at the CA as it was declared. */
  isInForce(trustDomain: string): boolean {
    return this.#inForce.has(trustDomain);
  }

  /** Why a trust domain is not federated with. */
  failureOf(trustDomain: string): Problem | undefined {
    return this.#failures.get(trustDomain);
  }

  /** Has the relationships looked at again. */
  enqueue(): void {
    this.#dirty = true;
    this.#wake();
  }

  /** Keeps the relationships in line until the signal aborts. To be run by one process at a time. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, driftCheckMs, log } = this.#options;
    this.#dirty = true;
    this.#inForce.clear();
    while (!signal.aborted) {
      let delayMs = driftCheckMs;
      try {
        this.#dirty = false;
        if (await this.reconcile(signal)) this.#backoff.reset();
        else delayMs = this.#backoff.nextMs();
      } catch (error) {
        if (signal.aborted) return;
        if (!isIdentityError(error)) throw error;
        log.warn({ err: error }, 'federation relationships could not be compared');
        delayMs = this.#backoff.nextMs();
      }
      await this.#wait(clock, delayMs, signal);
    }
  }

  async #wait(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
    if (this.#dirty) return;
    const waited = new AbortController();
    this.#wake = () => waited.abort();
    await sleep(clock, delayMs, AbortSignal.any([signal, waited.signal])).catch(() => {});
    this.#wake = () => {};
  }

  /** What would be written. */
  async plan(
    signal: AbortSignal,
  ): Promise<{ readonly create: readonly string[]; readonly update: readonly string[]; readonly delete: readonly string[] }> {
    const { index, client, owned } = this.#options;
    const actual = await client.list(signal);
    const mine = await owned.load();
    const wanted = [...index.trustDomains()];
    return {
      create: wanted.filter((name) => !actual.has(name)),
      update: wanted.filter((name) => actual.has(name) && this.#differs(name, actual.get(name))),
      delete: [...mine].filter((name) => actual.has(name) && index.desired(name) === undefined),
    };
  }

  /** @returns whether all of it succeeded */
  async reconcile(signal: AbortSignal): Promise<boolean> {
    const { index, client, owned } = this.#options;
    const actual = await client.list(signal);
    const mine = new Set(await owned.load());
    const before = [...mine].sort().join();
    const wanted = [...index.trustDomains()];
    // Noted before they are made: what is made and not noted would stay for ever.
    for (const name of wanted) if (!actual.has(name)) mine.add(name);
    const noted = [...mine].sort().join();
    if (noted !== before) await owned.save(mine);
    for (const name of wanted) await this.#attempt(name, () => this.#put(name, actual.get(name), signal));
    for (const name of mine) {
      if (index.desired(name) !== undefined) continue;
      await this.#attempt(name, () => client.delete(name, signal));
      if (!this.#failures.has(name)) mine.delete(name);
      this.#inForce.delete(name);
    }
    if ([...mine].sort().join() !== noted) await owned.save(mine);
    return this.#failures.size === 0;
  }

  async #put(name: string, actual: string | undefined, signal: AbortSignal): Promise<void> {
    const { index, client, onFederated, log } = this.#options;
    const desired = index.desired(name);
    if (desired === undefined) return;
    if (actual === undefined) await client.create(desired, signal);
    else if (this.#differs(name, actual)) await client.update(desired, signal);
    const state = this.#stateOf(name);
    if (this.#inForce.get(name) === state) return;
    this.#inForce.set(name, state);
    if (actual === undefined) log.info({ trustDomain: name }, 'federation relationship made');
    this.#options.onChanged(name);
    onFederated();
  }

  #differs(name: string, actual: string | undefined): boolean {
    const desired = this.#options.index.desired(name);
    if (desired === undefined) return false;
    if (relationshipText(desired) !== actual) return true;
    // A bundle is only a beginning: it is given again when the resource says another one than before.
    const before = this.#inForce.get(name);
    return before !== undefined && before !== this.#stateOf(name);
  }

  #stateOf(name: string): string {
    const desired = this.#options.index.desired(name);
    return desired === undefined ? '' : `${relationshipText(desired)} ${desired.declaration.trustDomainBundle ?? ''}`;
  }

  async #attempt(name: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      if (this.#failures.delete(name)) this.#options.onChanged(name);
    } catch (error) {
      if (!isIdentityError(error)) throw error;
      this.#fail(name, error);
    }
  }

  #fail(name: string, error: IdentityError): void {
    const { log, onChanged } = this.#options;
    if (this.#failures.get(name)?.message === error.message) return;
    log.warn({ err: error, trustDomain: name }, 'federation relationship refused');
    this.#failures.set(name, { reason: 'RelationshipRefused', message: error.message });
    onChanged(name);
  }
}
