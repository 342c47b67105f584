import type { Clock, Timer } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { AgentProgress } from '../model.ts';
import type { Registry } from '../registry/registry.ts';
import type { Store } from '../store/store.ts';

/** What {@link PolicyProgress} works with. */
export interface PolicyProgressOptions {
  readonly store: Store;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What an agent has in force. */
export type KnownProgress = Pick<AgentProgress, 'revision' | 'refused' | 'reasons'>;

const NONE: KnownProgress = { revision: 0, refused: {} };

/** Reasons of an agent that are kept: for people who look for a fault, one is enough. */
const MAX_REASONS = 20;
/** What one policy change has many agents acknowledge goes out together. */
const FIRST_MS = 150;
/** So far apart are writes at least: they are for people who look at a status. */
const INTERVAL_MS = 5000;

/**
 * How far agents are with enforcing policy. What agents of this replica acknowledge is known here at once, and told the other
 * replicas through the store: the first at once, more after five seconds, all agents in one transaction.
 */
export class PolicyProgress implements AsyncDisposable {
  readonly #options: PolicyProgressOptions;
  /** Acknowledged here, and not in the registry yet. */
  readonly #noted = new Map<string, AgentProgress>();
  readonly #listeners = new Set<() => void>();
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(options: PolicyProgressOptions) {
    this.#options = options;
  }

  /** What is in force at an agent, as far as is known. */
  of(agentId: string): KnownProgress {
    return this.#noted.get(agentId) ?? this.#options.registry.progress.get(agentId) ?? NONE;
  }

  /**
   * Notes that an agent has in force all up to a revision but what it refused.
   *
   * @param refused what it refused since the last note
   * @param isFresh it was sent everything anew: what it refused before counts no more
   */
  note(agentId: SpiffeId, news: KnownProgress & { readonly isFresh: boolean }): void {
    const name = agentId.toString();
    const before = this.of(name);
    const revision = Math.max(before.revision, news.revision);
    const refused = this.#current({ ...(news.isFresh ? {} : before.refused), ...news.refused });
    if (this.#stopped || (revision === before.revision && isSame(refused, before.refused))) return;
    const reasons = reasonsFor(refused, { ...before.reasons, ...news.reasons });
    this.#noted.set(name, { agentId, revision, refused, ...reasons });
    for (const listener of this.#listeners) listener();
    this.#plan();
  }

  /** Leaves out what has changed or gone since it was refused. */
  #current(refused: KnownProgress['refused']): KnownProgress['refused'] {
    const { policies } = this.#options.registry;
    return Object.fromEntries(Object.entries(refused).filter(([key, revision]) => policies.record(key)?.revision === revision));
  }

  /** Tells that an agent of this replica got on. Returns what ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#writing;
  }

  #plan(): void {
    if (this.#stopped || this.#timer !== undefined || this.#writing !== undefined || this.#noted.size === 0) return;
    const { clock } = this.#options;
    const delayMs = Math.max(FIRST_MS, this.#lastMs + INTERVAL_MS - clock.monotonicMs());
    this.#timer = clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      this.#lastMs = clock.monotonicMs();
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        this.#plan();
      });
    });
  }

  async #write(): Promise<void> {
    const { store, registry, log } = this.#options;
    const noted = [...this.#noted];
    try {
      const { revision } = await store.mutate((tx) => tx.putProgress(noted.map(([, progress]) => progress)));
      await registry.waitFor(revision);
    } catch (err) {
      // They stay noted, and are written with what comes; the next acknowledgement of an agent says the same or more.
      log.warn({ err }, 'the progress of agents is not written; trying again');
      return;
    }
    for (const [name, progress] of noted) if (this.#noted.get(name) === progress) this.#noted.delete(name);
  }
}

/** The first of them, of what is refused still. */
function reasonsFor(refused: KnownProgress['refused'], reasons: Record<string, string>): Pick<KnownProgress, 'reasons'> {
  const kept = Object.entries(reasons).filter(([key]) => refused[key] !== undefined);
  return kept.length === 0 ? {} : { reasons: Object.fromEntries(kept.slice(0, MAX_REASONS)) };
}

function isSame(one: KnownProgress['refused'], other: KnownProgress['refused']): boolean {
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => one[key] === other[key]);
}
