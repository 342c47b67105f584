import type { Clock, Timer } from '../../core/clock.ts';
import type { Duration } from '../../core/duration.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Registry } from '../registry/registry.ts';
import type { Store } from '../store/store.ts';
import { isAliasOf } from './join-token.ts';

/** What {@link AgentPruning} needs. */
export interface AgentPruningOptions {
  readonly store: Store;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long an agent is remembered after its SVID ran out. */
  readonly after: Duration;
}

const INTERVAL_MS = 5 * 60_000;

/** Forgets agents that have been gone for long. Banned ones stay: forgetting one would let it attest again. */
export class AgentPruning implements AsyncDisposable {
  readonly #options: AgentPruningOptions;
  #timer: Timer;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: AgentPruningOptions) {
    this.#options = options;
    this.#timer = this.#sleep();
  }

  #sleep(): Timer {
    return this.#options.clock.setTimer(INTERVAL_MS, () => {
      this.#running = this.#prune()
        .catch((err: unknown) => this.#options.log.warn({ err }, 'expired agents not pruned'))
        .then(() => {
          if (!this.#stopped) this.#timer = this.#sleep();
        });
    });
  }

  async #prune(): Promise<void> {
    const { store, registry, clock, after, log } = this.#options;
    const byExpiresBeforeMs = clock.nowMs() - after.ms;
    const { items } = registry.agents.list({ byExpiresBeforeMs, byBanned: false });
    if (items.length === 0) return;
    const { revision } = await store.mutate(async (tx) => {
      for (const { id } of items) {
        const agent = await tx.getAgent(id);
        // It may have attested anew, or been banned, a moment ago.
        if (agent === undefined || agent.banned || latestExpiryMs(agent) >= byExpiresBeforeMs) continue;
        await tx.deleteAgent(id);
        const aliases = registry.entries.list({ byParentId: id }).items.filter((entry) => isAliasOf(agent, entry));
        for (const entry of aliases) await tx.deleteEntry(entry.id);
      }
    });
    await registry.waitFor(revision);
    log.info({ count: items.length }, 'expired agents pruned');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#timer.cancel();
    await this.#running;
  }
}

function latestExpiryMs({
  expiresAtMs,
  nextExpiresAtMs,
}: {
  readonly expiresAtMs: number;
  readonly nextExpiresAtMs: number;
}): number {
  return Math.max(expiresAtMs, nextExpiresAtMs);
}
