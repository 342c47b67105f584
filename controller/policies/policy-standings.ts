import { Backoff } from '../../core/backoff.ts';
import { sleep, type Clock } from '../../core/clock.ts';
import { Current } from '../../core/current.ts';
import { isIdentityError, type IdentityError } from '../../core/errors.ts';
import type { ResourceStatus, WatchStatusResponse } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { Logger } from '../../runtime/log.ts';
import { keyOfStatus, type PolicyClient } from './policy-client.ts';

/** How a resource stands at the nodes, as the CA last told. */
export interface Standing {
  readonly revision: bigint;
  readonly generation: number;
  readonly nodesConcerned: number;
  readonly nodesProgrammed: number;
  /** Nodes that could not put it in force. */
  readonly nodesRefused: number;
  /** What one of these said; undefined where none is known to have said anything. */
  readonly refusal: { readonly agentId: string; readonly reason: string } | undefined;
  /** Calls of the last hour that it decided. */
  readonly hits: number;
  /** Calls of the last hour that it would have denied. */
  readonly wouldDenyHits: number;
}

/** What {@link PolicyStandings} needs. */
export interface PolicyStandingsOptions {
  readonly client: Pick<PolicyClient, 'watchStatus'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told of each resource whose standing changed. */
  readonly onChanged: (key: string) => void;
  /** Told when the CA has told of all of them. */
  readonly onComplete: () => void;
}

const BACKOFF = { initialMs: 200, maxMs: 10_000 };

/** Follows how resources stand at the nodes. While the CA is away the last that it told is kept. */
export class PolicyStandings {
  readonly #options: PolicyStandingsOptions;
  readonly #byKey = new Map<string, Standing>();
  #isComplete = false;
  /** Why the CA does not tell at the moment. */
  readonly outage = new Current<IdentityError | undefined>(undefined);

  constructor(options: PolicyStandingsOptions) {
    this.#options = options;
  }

  /** Whether the CA has told of all of them since {@link run} began. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  get(key: string): Standing | undefined {
    return this.#byKey.get(key);
  }

  /** Follows them until the signal aborts. To be run by one process at a time. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const backoff = new Backoff(BACKOFF);
    while (!signal.aborted) {
      try {
        await this.#follow(signal, () => {
          backoff.reset();
          this.outage.set(undefined);
        });
      } catch (error) {
        if (signal.aborted) break;
        if (!isIdentityError(error)) throw error;
        if (error.message !== this.outage.value?.message)
          log.warn({ err: error }, 'the ca does not tell how policies stand; trying again');
        this.outage.set(error);
      }
      await sleep(clock, backoff.nextMs(), signal).catch(() => {});
    }
    this.#byKey.clear();
    this.#isComplete = false;
    this.outage.set(undefined);
  }

  async #follow(signal: AbortSignal, onAnswer: () => void): Promise<void> {
    const seen = new Set<string>();
    let isWhole = false;
    for await (const response of this.#options.client.watchStatus(signal)) {
      onAnswer();
      this.#take(response, isWhole ? undefined : seen);
      if (isWhole || !response.complete) continue;
      isWhole = true;
      for (const key of this.#byKey.keys()) if (!seen.has(key)) this.#set(key, undefined);
      if (this.#isComplete) continue;
      this.#isComplete = true;
      this.#options.onComplete();
    }
  }

  #take({ statuses }: WatchStatusResponse, seen: Set<string> | undefined): void {
    for (const status of statuses) {
      const key = keyOfStatus(status);
      seen?.add(key);
      this.#set(key, status.revision === 0n ? undefined : standingOf(status));
    }
  }

  #set(key: string, standing: Standing | undefined): void {
    if (standing === undefined) this.#byKey.delete(key);
    else this.#byKey.set(key, standing);
    this.#options.onChanged(key);
  }
}

function standingOf({ generation, hits, wouldDenyHits, ...status }: ResourceStatus): Standing {
  const { revision, nodesConcerned, nodesProgrammed, nodesRefused, refusal } = status;
  const nodes = { nodesConcerned, nodesProgrammed, nodesRefused, refusal };
  return { revision, ...nodes, generation: Number(generation), hits: Number(hits), wouldDenyHits: Number(wouldDenyHits) };
}
