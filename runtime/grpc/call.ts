import type { Metadata, MetadataValue } from './metadata.ts';

/**
 * One RPC, as its handler sees it. `P` is what the listener learned of the connection's peer when it accepted it: peer
 * credentials on a unix socket, the verified certificate on TLS.
 */
export interface Call<P> {
  readonly peer: P;
  /** Full name, such as `/SpiffeWorkloadAPI/FetchX509SVID`. */
  readonly method: string;
  /** What the caller sent with the request. */
  readonly metadata: Metadata;
  /** When the caller gives up, on the clock's monotonic time; undefined when it waits for ever. */
  readonly deadlineMs: number | undefined;
  /** Whether the call is over: answered, cancelled, past its deadline, or its connection lost. */
  readonly ended: boolean;
  /**
   * Aborts when the caller cancels, the deadline passes or the connection is lost (not when the call ends by itself). It is
   * made when first read: handlers that do not wait should leave it alone.
   */
  readonly signal: AbortSignal;
  /** Adds leading metadata; it goes out with {@link sendHeaders} or the first message. Bytes need a `-bin` name. */
  setHeader(name: string, value: MetadataValue): void;
  /** Sends the leading metadata now, before there is a message. */
  sendHeaders(): void;
  /** Adds trailing metadata; it goes out with the status. Bytes need a `-bin` name. */
  setTrailer(name: string, value: MetadataValue): void;
  /**
   * Ends the call from outside its handler with the status of `error`, after what is already on its way; for streams whose
   * right to be served ends, such as that of a banned agent. Nothing happens when the call is over.
   */
  fail(error: unknown): void;
  /** Calls `listener` once, as soon as the call is over for whatever reason (cheaper than {@link signal}). */
  onEnd(listener: () => void): void;
}

/** How a call ended, for metrics and logs. */
export interface CallEnd<P> {
  /** Full name as the caller sent it, or `unknown` when no such method exists: safe as a metric label. */
  readonly method: string;
  /** The gRPC status code. */
  readonly code: number;
  readonly durationMs: number;
  readonly peer: P;
  /** What ended the call when something was thrown; it may hold a cause that the caller did not see. */
  readonly error: unknown;
}
