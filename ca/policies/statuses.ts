import { sleep } from '../../core/clock.ts';
import type { Clock } from '../../core/clock.ts';
import { Current, changesOf } from '../../core/current.ts';
import type { Logger } from '../../runtime/log.ts';
import type { CallCounts } from '../calls/hit-counts.ts';
import type { Registry } from '../registry/registry.ts';
import { Pace } from './pace.ts';
import type { PolicyProgress } from './progress.ts';
import { Standings } from './standing.ts';
import type { PolicyStanding } from './standing.ts';

/** How a policy resource stands. */
export interface PolicyStatus extends PolicyStanding {
  /** Calls of the last hour that one of its rules decided. */
  readonly hits: number;
  /** Calls of the last hour that would have been denied, were its mode Enforce. */
  readonly wouldDenyHits: number;
}

/** What {@link PolicyStatuses} works with. */
export interface PolicyStatusesOptions {
  readonly registry: Registry;
  readonly progress: PolicyProgress;
  readonly counts: CallCounts;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a change has agents acknowledge at once goes out with it. */
const COALESCE_MS = 40;
/** Calls are counted whether policies change or not. */
const HITS_MS = 10_000;
const HOUR_MS = 3_600_000;

type Statuses = ReadonlyMap<string, PolicyStatus>;

/**
 * How all policy resources stand, for as long as anybody watches: found anew when something changes, at once after a quiet second, and
 * about once a second while it goes on changing.
 */
export class PolicyStatuses implements Disposable {
  readonly #options: PolicyStatusesOptions;
  readonly #standings: Standings;
  readonly #current = new Current<Statuses | undefined>(undefined);
  #watchers = 0;
  #stop: AbortController | undefined;
  #updating = Promise.resolve();

  constructor(options: PolicyStatusesOptions) {
    this.#options = options;
    this.#standings = new Standings(options);
  }

  /** All statuses by key, now and after each change; a status that is the same is the same object. Ends when the signal aborts. */
  async *watch(signal: AbortSignal): AsyncGenerator<Statuses, void, undefined> {
    this.#watchers += 1;
    if (this.#watchers === 1) this.#start();
    try {
      // What is known may be a second old: who comes new gets what is so now.
      await this.#update();
      for await (const statuses of changesOf(this.#current, signal)) if (statuses !== undefined) yield statuses;
    } finally {
      this.#watchers -= 1;
      if (this.#watchers === 0) this[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    this.#stop?.abort();
    this.#stop = undefined;
    this.#current.set(undefined);
  }

  #start(): void {
    const stop = new AbortController();
    this.#stop = stop;
    // It rejects only when it is stopped.
    this.#run(stop.signal).catch(() => undefined);
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { registry, progress, clock } = this.#options;
    const changed = new Signal();
    const pace = new Pace(clock);
    const ends = [registry.onStandingChange(() => changed.set()), progress.onChange(() => changed.set())];
    signal.addEventListener('abort', () => changed.set(), { once: true });
    try {
      while (!signal.aborted) {
        pace.waits();
        await this.#changedOrOld(changed);
        await sleep(clock, COALESCE_MS, signal);
        changed.clear();
        pace.begins();
        await this.#update();
        await sleep(clock, pace.ended(), signal);
      }
    } finally {
      for (const end of ends) end();
    }
  }

  /** Finds the statuses anew. One after the other: the last that is found is the newest. */
  #update(): Promise<void> {
    this.#updating = this.#updating.then(async () => {
      try {
        const statuses = await this.#find();
        if (this.#watchers > 0) this.#current.set(statuses);
      } catch (err) {
        this.#options.log.error({ err }, 'how policies stand cannot be found; trying again');
      }
    });
    return this.#updating;
  }

  async #changedOrOld(changed: Signal): Promise<void> {
    const timer = this.#options.clock.setTimer(HITS_MS, () => changed.set());
    await changed.wait();
    timer.cancel();
  }

  async #find(): Promise<Statuses> {
    const { counts, clock } = this.#options;
    const hits = await counts.since(clock.nowMs() - HOUR_MS);
    const before = this.#current.value;
    const found = new Map<string, PolicyStatus>();
    let isSame = true;
    for (const [key, standing] of await this.#standings.find()) {
      const { hits: decided = 0, wouldDenyHits = 0 } = hits.get(key) ?? {};
      const status = { ...standing, hits: decided, wouldDenyHits };
      const known = before?.get(key);
      const kept = known !== undefined && isEqual(known, status) ? known : status;
      found.set(key, kept);
      isSame &&= kept === known;
    }
    return isSame && before?.size === found.size ? before : found;
  }
}

/** Something that happened; whoever waits for it goes on. */
class Signal {
  #isSet = false;
  #wake: () => void = () => {};

  set(): void {
    this.#isSet = true;
    this.#wake();
  }

  clear(): void {
    this.#isSet = false;
  }

  async wait(): Promise<void> {
    if (this.#isSet) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

function isEqual(one: PolicyStatus, other: PolicyStatus): boolean {
  return (
    one.policy === other.policy &&
    one.revision === other.revision &&
    one.nodesConcerned === other.nodesConcerned &&
    one.nodesProgrammed === other.nodesProgrammed &&
    one.nodesRefused === other.nodesRefused &&
    one.refusal?.agentId === other.refusal?.agentId &&
    one.refusal?.reason === other.refusal?.reason &&
    one.hits === other.hits &&
    one.wouldDenyHits === other.wouldDenyHits
  );
}
