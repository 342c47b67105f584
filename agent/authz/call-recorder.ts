import type { Destination } from '../../policy/model.ts';
import type { DecidedCall } from './decided-call.ts';
import { foldedKind, keptKind, kindKey, recordedDestination, recordedKind } from './recorded-kind.ts';
import type { RecordedDestination, RecordedKind } from './recorded-kind.ts';

/** Equal calls, counted. */
export interface CountedCalls {
  readonly kind: RecordedKind;
  readonly count: number;
  /** Milliseconds since the epoch. */
  readonly lastSeenMs: number;
}

interface Counted {
  readonly kind: RecordedKind;
  count: number;
  lastSeenMs: number;
}

/** What became of calls that were not recorded as they were, since the start. */
export interface RecordingLosses {
  /** Counted without what their caller can vary at will: path, host, gRPC method. */
  readonly folded: number;
  /** Not recorded, because there were too many kinds even so. */
  readonly dropped: number;
  /** Not recorded, because it is not known which workload was called. */
  readonly unplaced: number;
}

/** The part of all kinds that one caller and destination may have, and the part that is kept free for folded ones. */
const MOST_OF_A_PAIR = 1 / 8;
const ROOM_FOR_FOLDED = 1 / 8;

/**
 * Counts decided calls by kind: source, destination, method, host, path template, gRPC method, verdict, reason, rules, point. Memory is
 * bounded by the number of kinds: one caller that tries many paths fills its own share only, and then counts under a kind whose path is
 * not recorded; nothing is lost without being counted.
 */
export class CallRecorder {
  readonly #maxKinds: number;
  readonly #destinations = new WeakMap<Destination, { readonly recorded: RecordedDestination | undefined }>();
  #kinds = new Map<string, Counted>();
  #pairs = new Map<string, number>();
  #sinceMs: number | undefined;
  #folded = 0;
  #dropped = 0;
  #unplaced = 0;

  constructor({ maxKinds }: { readonly maxKinds: number }) {
    this.#maxKinds = maxKinds;
  }

  /** Counts a call. That a user was authenticated says nothing of what policies allow, and is not counted. */
  readonly observe = (decided: DecidedCall): void => {
    const { call, atMs, isAuthentication = false } = decided;
    if (isAuthentication) return;
    const destination = call === undefined ? undefined : this.#destinationOf(call.destination);
    if (call === undefined || destination === undefined) {
      this.#unplaced += 1;
      return;
    }
    const counted = this.#counted(recordedKind(decided, call, destination));
    if (counted === undefined) return;
    counted.count += 1;
    counted.lastSeenMs = atMs;
    this.#sinceMs ??= atMs;
  };

  /** All that was counted since it was last taken. */
  take(): readonly CountedCalls[] {
    const taken = [...this.#kinds.values()];
    this.#kinds = new Map();
    this.#pairs = new Map();
    this.#sinceMs = undefined;
    return taken;
  }

  /** How many kinds wait to be taken. */
  get kinds(): number {
    return this.#kinds.size;
  }

  /** When the first of them was counted. */
  get sinceMs(): number | undefined {
    return this.#sinceMs;
  }

  get losses(): RecordingLosses {
    return { folded: this.#folded, dropped: this.#dropped, unplaced: this.#unplaced };
  }

  #destinationOf(destination: Destination): RecordedDestination | undefined {
    const known = this.#destinations.get(destination);
    if (known !== undefined) return known.recorded;
    const recorded = recordedDestination(destination);
    this.#destinations.set(destination, { recorded });
    return recorded;
  }

  #counted(kind: RecordedKind): Counted | undefined {
    const key = kindKey(kind);
    const known = this.#kinds.get(key);
    if (known !== undefined) return known;
    const pair = `${kind.source}\n${kind.destination.key}`;
    return this.#hasRoom(pair) ? this.#start(key, kind, pair) : this.#fold(kind);
  }

  #hasRoom(pair: string): boolean {
    const isFull = this.#kinds.size >= this.#maxKinds * (1 - ROOM_FOR_FOLDED);
    return !isFull && (this.#pairs.get(pair) ?? 0) < this.#maxKinds * MOST_OF_A_PAIR;
  }

  #fold(kind: RecordedKind): Counted | undefined {
    const folded = foldedKind(kind);
    const key = kindKey(folded);
    const known = this.#kinds.get(key);
    if (known === undefined && this.#kinds.size >= this.#maxKinds) {
      this.#dropped += 1;
      return undefined;
    }
    this.#folded += 1;
    return known ?? this.#start(key, folded, undefined);
  }

  #start(key: string, kind: RecordedKind, pair: string | undefined): Counted {
    const counted = { kind: keptKind(kind), count: 0, lastSeenMs: 0 };
    this.#kinds.set(key, counted);
    if (pair !== undefined) this.#pairs.set(pair, (this.#pairs.get(pair) ?? 0) + 1);
    return counted;
  }
}
