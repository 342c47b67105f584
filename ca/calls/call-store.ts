import type { CountedKind, SeenCalls } from './call-kind.ts';

/** What one agent reports at once. */
export interface CallBatch {
  readonly agentId: string;
  /** Unique among the agent's. */
  readonly batchId: string;
  readonly calls: readonly SeenCalls[];
}

/** How many calls a policy decided. */
export interface PolicyHits {
  readonly hits: number;
  readonly wouldDenyHits: number;
}

/** Which recorded calls. */
export interface CallFilter {
  /** Seen since, milliseconds since 1970; counts are those of whole hours. */
  readonly sinceMs: number;
  readonly destinationNamespace?: string;
}

/** What {@link CallStore.add} did. */
export interface AddedCalls {
  /** Batches that were there already: they count once. */
  readonly repeated: number;
  /** Calls of the others. */
  readonly calls: number;
  /** Those of them that were counted without what tells them apart, because their destination had too many kinds of calls in that hour. */
  readonly folded: number;
}

/** What to forget: what is older than these times, milliseconds since 1970. */
export interface CallHorizon {
  readonly callsMs: number;
  readonly batchesMs: number;
  readonly hitsMs: number;
}

/**
 * Calls that agents reported, counted by kind and hour. All replicas share them.
 *
 * Every method throws IdentityError `unavailable` when the store cannot be reached or written; nothing is then half done.
 */
export interface CallStore {
  /** Counts calls, in one transaction. A batch that is there already counts for nothing. */
  add(batches: readonly CallBatch[], nowMs: number): Promise<AddedCalls>;
  /** The kinds of calls with their counts, in parts, in an order that stays. */
  list(filter: CallFilter): AsyncIterable<readonly CountedKind[]>;
  /** Calls by policy key since a time, to five minutes. */
  hits(sinceMs: number): Promise<ReadonlyMap<string, PolicyHits>>;
  /** Forgets what is old, a little at a time. */
  prune(horizon: CallHorizon): Promise<void>;
}
