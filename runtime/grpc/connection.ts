import {
  constants,
  performServerHandshake,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../core/clock.ts';
import { HeldBytes } from './frame-reader.ts';
import { EARLY_RESETS, QUIET_PINGS, SETTINGS_FRAMES, type ConnectionLimits } from './limits.ts';
import type { ServerCall, Traffic } from './server-call.ts';
import { TokenBucket } from './token-bucket.ts';

/** What a connection needs from its server. */
export interface ConnectionContext<P> {
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  /** Starts a call, or answers a request that is none. */
  readonly onStream: (
    connection: Connection<P>,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    raw: readonly string[],
  ) => void;
  readonly onClose: (connection: Connection<P>) => void;
}

// nghttp2 counts every RST_STREAM of a peer and by default ends the connection after a thousand. But a caller that fetches
// once cancels each stream after its first answer, thousands of times a second, so the count here leaves those out.
const UNCOUNTED = 1_000_000;

/** How long calls have to send their last status when a connection is closed on them. */
const FLUSH_MS = 1_000;

/** One HTTP/2 connection: its calls, its age, and what its peer may not do. */
export class Connection<P> {
  readonly peer: P;
  /** What is held of its unfinished messages. */
  readonly held: HeldBytes;
  /** What its calls sent and received, so that pings can be told from pings without traffic. */
  readonly traffic: Traffic = { frames: 0 };
  readonly #context: ConnectionContext<P>;
  readonly #session: ServerHttp2Session;
  readonly #calls = new Set<ServerCall<P>>();
  readonly #timers = new Map<string, Timer>();
  readonly #earlyResets: TokenBucket;
  readonly #settings: TokenBucket;
  #pings: TokenBucket | undefined;
  #framesAtPing = 0;
  #draining = false;

  constructor(socket: Duplex, peer: P, context: ConnectionContext<P>) {
    this.peer = peer;
    this.#context = context;
    this.#earlyResets = new TokenBucket(context.clock, EARLY_RESETS);
    this.#settings = new TokenBucket(context.clock, SETTINGS_FRAMES);
    const { limits } = context;
    this.held = new HeldBytes(limits.maxHeldBytes);
    this.#session = performServerHandshake(socket, {
      maxSessionMemory: limits.maxSessionMemoryMiB,
      streamResetBurst: UNCOUNTED,
      streamResetRate: UNCOUNTED,
      settings: {
        enablePush: false,
        initialWindowSize: limits.streamWindowBytes,
        maxConcurrentStreams: limits.maxConcurrentStreams,
        maxHeaderListSize: limits.maxHeaderListBytes,
      },
    });
    this.#session.setLocalWindowSize(limits.connectionWindowBytes);
    this.#listen();
    this.#arm('handshake', limits.handshakeTimeoutMs, () => this.#destroy(constants.NGHTTP2_SETTINGS_TIMEOUT));
    this.#arm('age', limits.maxAgeMs, () => this.drain(limits.maxAgeGraceMs));
  }

  /** Takes note of a call, so that it is told when the connection ends. */
  add(call: ServerCall<P>): void {
    this.#calls.add(call);
    this.traffic.frames += 1;
    this.#disarm('idle');
  }

  /** Ends a call whose stream is gone. */
  remove(call: ServerCall<P>): void {
    this.#calls.delete(call);
    if (call.closed()) this.countEarlyReset();
    if (this.#calls.size === 0) this.#armIdle();
  }

  /** Counts a stream that was reset before it had an answer; too many end the connection. */
  countEarlyReset(): void {
    if (!this.#earlyResets.take()) this.#destroy(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /**
   * Takes no more calls, lets those in flight finish, then closes; after `graceMs` ends them with UNAVAILABLE. The GOAWAY
   * names the last call that was taken, so that callers know which of those on their way to try elsewhere. (The early
   * notice of RFC 9113 section 6.8 would lose calls: nghttp2 ignores all that come after the first GOAWAY.)
   */
  drain(graceMs: number): void {
    if (this.#draining || this.#session.destroyed) return;
    this.#draining = true;
    if (graceMs <= 0) return this.#expel();
    this.#arm('grace', graceMs, () => this.#expel());
    if (!this.#session.closed) this.#session.close();
  }

  /** Drains because the server stops: calls that would never finish by themselves end with UNAVAILABLE now. */
  shutDown(graceMs: number): void {
    // The GOAWAY goes first, so that nobody tries again on this connection.
    this.drain(graceMs);
    for (const call of this.#calls) if (call.standing) call.shutDown();
  }

  #expel(): void {
    for (const call of this.#calls) call.shutDown();
    if (!this.#session.closed) this.#session.close();
    this.#arm('flush', FLUSH_MS, () => this.#destroy(constants.NGHTTP2_NO_ERROR));
  }

  #listen(): void {
    const session = this.#session;
    session.on('stream', (stream, headers, _flags, raw) => this.#context.onStream(this, stream, headers, raw));
    // A broken connection needs no report: its calls are told by the close of their streams.
    session.on('error', () => {});
    session.on('close', () => this.#closed());
    session.on('remoteSettings', () => this.#onSettings());
    session.on('ping', () => this.#onPing());
  }

  #onSettings(): void {
    if (this.#timers.has('handshake')) {
      this.#disarm('handshake');
      this.#armKeepAlive();
      if (this.#calls.size === 0) this.#armIdle();
    }
    if (!this.#settings.take()) this.#destroy(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  // Callers measure the path with pings while answers arrive, so only pings without traffic are counted.
  #onPing(): void {
    if (this.traffic.frames !== this.#framesAtPing) this.#pings = undefined;
    this.#framesAtPing = this.traffic.frames;
    this.#pings ??= new TokenBucket(this.#context.clock, QUIET_PINGS);
    if (!this.#pings.take()) this.#destroy(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #armIdle(): void {
    this.#arm('idle', this.#context.limits.maxIdleMs, () => this.drain(this.#context.limits.maxAgeGraceMs));
  }

  #armKeepAlive(): void {
    const { keepAliveMs, keepAliveTimeoutMs } = this.#context.limits;
    this.#arm('keep-alive', keepAliveMs, () => {
      this.#arm('pong', keepAliveTimeoutMs, () => this.#session.destroy());
      const onPong = (error: Error | null): void => {
        this.#disarm('pong');
        if (error === null) this.#armKeepAlive();
      };
      if (!this.#session.destroyed) this.#session.ping(onPong);
    });
  }

  #arm(name: string, delayMs: number, fire: () => void): void {
    this.#disarm(name);
    if (delayMs > 0 && !this.#session.destroyed) this.#timers.set(name, this.#context.clock.setTimer(delayMs, fire));
  }

  #disarm(name: string): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
  }

  #destroy(code: number): void {
    if (this.#session.destroyed) return;
    if (code === constants.NGHTTP2_NO_ERROR) this.#session.destroy();
    else this.#session.destroy(new Error('the connection broke a limit'), code);
  }

  #closed(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    for (const call of this.#calls) call.closed();
    this.#calls.clear();
    this.#context.onClose(this);
  }
}
