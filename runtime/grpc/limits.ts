/** What one connection may cost. All have defaults; see {@link DEFAULT_LIMITS}. */
export interface ConnectionLimits {
  /** Largest message that is received, in bytes, after inflation. */
  readonly maxReceiveBytes: number;
  /** How much of unfinished messages is held for one connection, in bytes; calls beyond it end with RESOURCE_EXHAUSTED. */
  readonly maxHeldBytes: number;
  readonly maxConcurrentStreams: number;
  /** Largest header list that is received, in bytes. */
  readonly maxHeaderListBytes: number;
  /** Flow-control window of each stream: how far a sender gets ahead of a handler that does not read. */
  readonly streamWindowBytes: number;
  /** Flow-control window of the whole connection. */
  readonly connectionWindowBytes: number;
  /** What HTTP/2 itself may hold for a connection, in MiB; streams beyond it are refused. */
  readonly maxSessionMemoryMiB: number;
  /** A connection that has not sent its HTTP/2 preface and settings by then is closed. */
  readonly handshakeTimeoutMs: number;
  /** A connection is pinged when it was quiet this long; 0 turns pings off. */
  readonly keepAliveMs: number;
  /** How long the answer to such a ping may take before the connection counts as lost. */
  readonly keepAliveTimeoutMs: number;
  /** A connection without calls for this long is closed; 0 keeps it. */
  readonly maxIdleMs: number;
  /** A connection of this age is closed gracefully; 0 keeps it. */
  readonly maxAgeMs: number;
  /** How long calls may go on after the age was reached. */
  readonly maxAgeGraceMs: number;
}

/** gRPC's own defaults where it has some. */
export const DEFAULT_LIMITS: ConnectionLimits = {
  maxReceiveBytes: 4 * 1024 * 1024,
  maxHeldBytes: 16 * 1024 * 1024,
  maxConcurrentStreams: 1024,
  maxHeaderListBytes: 16 * 1024,
  streamWindowBytes: 65_535,
  connectionWindowBytes: 1024 * 1024,
  maxSessionMemoryMiB: 32,
  handshakeTimeoutMs: 10_000,
  keepAliveMs: 60_000,
  keepAliveTimeoutMs: 20_000,
  maxIdleMs: 0,
  maxAgeMs: 0,
  maxAgeGraceMs: 30_000,
};

/** Calls that a caller resets before it had an answer (rapid reset, CVE-2023-44487). */
export const EARLY_RESETS = { burst: 1_000, perSecond: 50 } as const;

/** SETTINGS frames of a peer. */
export const SETTINGS_FRAMES = { burst: 100, perSecond: 1 } as const;

/** PING frames of a peer while no call makes progress. */
export const QUIET_PINGS = { burst: 500, perSecond: 2 } as const;

/** Connections that may wait to be accepted: after a restart a node's workloads, or all agents, come at once. Linux' own bound is 4,096. */
export const LISTEN_BACKLOG = 4096;
