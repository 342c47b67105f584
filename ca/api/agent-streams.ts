import type { Clock } from '../../core/clock.ts';

/** How far one agent's open stream is. */
export interface StreamProgress {
  readonly agentId: string;
  readonly acknowledgedRevision: number;
  readonly sentRevision: number;
  /** Since when something is sent and not acknowledged, wall time in milliseconds; undefined when nothing is. */
  readonly pendingSinceMs: number | undefined;
}

/** The streams that are open to this replica, and which of them lag: what an operator asks when a change does not arrive. */
export class AgentStreams {
  readonly #clock: Clock;
  readonly #open = new Set<TrackedStream>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Agents with an open stream. */
  get connected(): number {
    return this.#open.size;
  }

  /** Notes a stream; the caller reports on it what it sends and reads, and closes it. */
  open(agentId: string): TrackedStream {
    const stream = new TrackedStream(agentId, this.#clock, () => this.#open.delete(stream));
    this.#open.add(stream);
    return stream;
  }

  /** Streams on which something has been waiting for its acknowledgement for over `longerThanMs`; the first `limit` of them. */
  lagging({ longerThanMs, limit }: { readonly longerThanMs: number; readonly limit: number }): readonly StreamProgress[] {
    const beforeMs = this.#clock.nowMs() - longerThanMs;
    const late = ({ pendingSinceMs }: StreamProgress): boolean => pendingSinceMs !== undefined && pendingSinceMs < beforeMs;
    return this.#open.values().filter(late).take(limit).toArray();
  }
}

/** One open stream: where the agent is. */
export class TrackedStream implements StreamProgress, Disposable {
  readonly agentId: string;
  readonly #clock: Clock;
  readonly #close: () => void;
  #acknowledgedRevision = 0;
  #sentRevision = 0;
  #pendingSinceMs: number | undefined;

  constructor(agentId: string, clock: Clock, close: () => void) {
    this.agentId = agentId;
    this.#clock = clock;
    this.#close = close;
  }

  get acknowledgedRevision(): number {
    return this.#acknowledgedRevision;
  }

  get sentRevision(): number {
    return this.#sentRevision;
  }

  get pendingSinceMs(): number | undefined {
    return this.#pendingSinceMs;
  }

  sent(revision: number): void {
    this.#sentRevision = revision;
    this.#pendingSinceMs ??= this.#clock.nowMs();
  }

  acknowledged(revision: number): void {
    this.#acknowledgedRevision = revision;
    // What was sent after it is younger than this acknowledgement, and how much is not worth a list of times.
    this.#pendingSinceMs = revision >= this.#sentRevision ? undefined : this.#clock.nowMs();
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
