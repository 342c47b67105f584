import type { Bundle } from '../../spiffe/bundle.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Entry } from '../model.ts';
import type { AuthorizationDelta, AuthorizationKind } from './authorization-watch.ts';

/** Where an agent's watch goes on. */
export interface Resume {
  readonly feedId: string;
  /** The last revision that the agent applied completely. */
  readonly revision: number;
}

/** What {@link AgentWatch} is asked for. */
export interface WatchOptions {
  readonly resume?: Resume | undefined;
  /** Besides entries and bundles. */
  readonly kinds?: ReadonlySet<AuthorizationKind> | undefined;
  readonly signal: AbortSignal;
}

/** An entry with the store's revision that made it what it is. */
export interface RevisedEntry {
  readonly entry: Entry;
  readonly revision: number;
}

/** A bundle with the store's revision that made it what it is. */
export interface RevisedBundle {
  readonly bundle: Bundle;
  readonly revision: number;
}

/** What an agent has to change to be at `revision`. Empty lists: nothing but the revision. */
export interface AgentDelta {
  /** The agent is at this revision when it has applied this delta. */
  readonly revision: number;
  /** What this delta does not put, the agent must forget. */
  readonly snapshot: boolean;
  readonly put: readonly RevisedEntry[];
  /** IDs of entries that are gone or no longer the agent's; may hold IDs that the agent never had. */
  readonly removed: readonly string[];
  /** The own bundle when it changed, and federated ones that the agent's entries federate with. */
  readonly bundles: readonly RevisedBundle[];
  /** Names of trust domains whose bundle the agent must forget; may hold names that it never had. */
  readonly removedBundles: readonly string[];
  /** Only for an agent that asked for kinds of it. */
  readonly authorization?: AuthorizationDelta;
}

/**
 * One agent's part of the registry, as deltas: the first at once, then one after each change that concerns it, a few
 * milliseconds later so that changes come together. What the reader had no time for is merged into its next delta: nothing
 * queues. To be iterated once; ends when its signal aborts.
 */
export interface AgentWatch extends AsyncIterable<AgentDelta> {
  readonly agentId: SpiffeId;
}
