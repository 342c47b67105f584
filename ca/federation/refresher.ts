import type { Timer } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { FederationRelationship } from '../model.ts';
import type { Registry } from '../registry/registry.ts';
import type { Store } from '../store/store.ts';
import { fetchBundle, type FetchBundleOptions } from './fetch-bundle.ts';

/** What a {@link BundleRefresher} needs. */
export interface BundleRefresherOptions extends Omit<FetchBundleOptions, 'bundles' | 'signal'> {
  readonly registry: Registry;
  readonly store: Store;
  readonly log: Logger;
  /** A uniform number in [0, 1), for the jitter between replicas; `Math.random` unless given. */
  readonly random?: () => number;
}

/** How the polling of one trust domain goes. */
export interface RefreshState {
  readonly lastSuccessMs: number | undefined;
  readonly lastFailure: string | undefined;
}

interface Polling {
  relationship: FederationRelationship;
  timer: Timer | undefined;
  state: RefreshState;
}

const DEFAULT_INTERVAL_MS = 300_000;
const MIN_INTERVAL_MS = 5_000;
const MAX_INTERVAL_MS = 24 * 3_600_000;

/**
 * Polls the bundle endpoint of each federated trust domain at the pace of its refresh hint (5 minutes without one). The last
 * good bundle stays until a newer one came: a failure, or a bundle with a lower sequence number, changes nothing.
 */
export class BundleRefresher implements AsyncDisposable {
  readonly #options: BundleRefresherOptions;
  readonly #pollings = new Map<string, Polling>();
  readonly #stop = new AbortController();
  readonly #unsubscribe: () => void;
  readonly #running = new Set<Promise<unknown>>();

  constructor(options: BundleRefresherOptions) {
    this.#options = options;
    this.#unsubscribe = options.registry.onFederationChange(() => this.#follow());
    this.#follow();
  }

  /** How the polling of each trust domain goes, by name. */
  get states(): ReadonlyMap<string, RefreshState> {
    return new Map([...this.#pollings].map(([name, { state }]) => [name, state]));
  }

  /**
   * Polls one trust domain now.
   *
   * @returns false when there is no relationship with it
   * @throws IdentityError of fetching, and of the store
   */
  async refresh(trustDomain: TrustDomain, signal?: AbortSignal): Promise<boolean> {
    const relationship = this.#options.registry.relationships.get(trustDomain);
    if (relationship === undefined) return false;
    await this.#fetchAndStore(relationship, signal);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort();
    for (const { timer } of this.#pollings.values()) timer?.cancel();
    await Promise.allSettled(this.#running);
  }

  /** Starts polling what is new or has changed, stops polling what is gone. */
  #follow(): void {
    const { items } = this.#options.registry.relationships.list();
    const wanted = new Map(items.map((relationship) => [relationship.trustDomain.name, relationship]));
    for (const [name, polling] of this.#pollings) {
      if (wanted.get(name) === polling.relationship) continue;
      polling.timer?.cancel();
      this.#pollings.delete(name);
    }
    for (const [name, relationship] of wanted) {
      if (this.#pollings.has(name)) continue;
      const polling: Polling = { relationship, timer: undefined, state: { lastSuccessMs: undefined, lastFailure: undefined } };
      this.#pollings.set(name, polling);
      this.#schedule(polling, 0);
    }
  }

  #schedule(polling: Polling, delayMs: number): void {
    polling.timer = this.#options.clock.setTimer(delayMs, () => {
      const poll = this.#poll(polling).finally(() => this.#running.delete(poll));
      this.#running.add(poll);
    });
  }

  /** One poll; a failure waits for the next interval, as the standard asks (SPIFFE Federation §6.2). */
  async #poll(polling: Polling): Promise<void> {
    const { relationship } = polling;
    const { log, clock } = this.#options;
    const trustDomain = relationship.trustDomain.name;
    try {
      await this.#fetchAndStore(relationship, this.#stop.signal);
      polling.state = { lastSuccessMs: clock.nowMs(), lastFailure: undefined };
    } catch (err) {
      if (this.#stop.signal.aborted) return;
      polling.state = { ...polling.state, lastFailure: isIdentityError(err) ? err.message : 'unexpected failure; see the log' };
      log.warn({ err, trustDomain }, 'bundle not refreshed; the last one stays in use');
    }
    const isCurrent = this.#pollings.get(trustDomain) === polling;
    if (isCurrent && !this.#stop.signal.aborted) this.#schedule(polling, this.#intervalMs(relationship.trustDomain));
  }

  async #fetchAndStore(relationship: FederationRelationship, signal: AbortSignal | undefined): Promise<void> {
    const { registry, store, log } = this.#options;
    const bundle = await fetchBundle(relationship, {
      ...this.#options,
      bundles: registry,
      ...(signal === undefined ? {} : { signal }),
    });
    const known = registry.bundleOf(relationship.trustDomain);
    if (known !== undefined && !isNewer(bundle, known)) return;
    const { revision } = await store.mutate((tx) => tx.putBundle(bundle));
    await registry.waitFor(revision);
    log.info(
      { trustDomain: relationship.trustDomain.name, sequenceNumber: bundle.sequenceNumber?.toString() },
      'bundle refreshed',
    );
  }

  #intervalMs(trustDomain: TrustDomain): number {
    const hintSeconds = this.#options.registry.bundleOf(trustDomain)?.refreshHintSeconds;
    const hintMs = hintSeconds === undefined || hintSeconds === 0 ? DEFAULT_INTERVAL_MS : hintSeconds * 1000;
    const jitter = 0.9 + (this.#options.random ?? Math.random)() * 0.2;
    return Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, hintMs * jitter));
  }
}

/** Whether a fetched bundle replaces the known one: by sequence number when both have one, else whenever it differs. */
function isNewer(fetched: Bundle, known: Bundle): boolean {
  if (
    fetched.sequenceNumber !== undefined &&
    known.sequenceNumber !== undefined &&
    fetched.sequenceNumber !== known.sequenceNumber
  ) {
    return fetched.sequenceNumber > known.sequenceNumber;
  }
  return !isSameContent(fetched, known);
}

function isSameContent(one: Bundle, other: Bundle): boolean {
  return contentOf(one) === contentOf(other);
}

function contentOf({ x509Authorities, jwtAuthorities, witAuthorities, refreshHintSeconds }: Bundle): string {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return JSON.stringify([
    x509Authorities.map(({ der }) => hex(der)),
    [...jwtAuthorities.values()].map(({ keyId, spki }) => [keyId, hex(spki)]),
    [...witAuthorities.values()].map(({ keyId, spki }) => [keyId, hex(spki)]),
    refreshHintSeconds,
  ]);
}
