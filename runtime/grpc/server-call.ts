import { constants, type ServerHttp2Stream } from 'node:http2';
import { IdentityError } from '../../core/errors.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import type { Call, CallEnd } from './call.ts';
import { ACCEPTED_ENCODINGS } from './compression.ts';
import { encodeMetadata, Metadata, type MetadataValue } from './metadata.ts';
import {
  CANCELLED,
  DEADLINE_EXCEEDED,
  INTERNAL,
  StatusError,
  statusOf,
  statusTrailers,
  UNAVAILABLE,
  type Status,
} from './status.ts';

/** What all calls of a server share. */
export interface CallContext<P> {
  readonly clock: Clock;
  readonly maxReceiveBytes: number;
  readonly authorize: ((call: Call<P>) => void | Promise<void>) | undefined;
  readonly onCallEnd: ((end: CallEnd<P>) => void) | undefined;
  readonly onError: (error: unknown, method: string) => void;
}

/** Counts what the calls of a connection do. */
export interface Traffic {
  frames: number;
}

/** What a call is made of. */
export interface CallParts<P> {
  readonly stream: ServerHttp2Stream;
  readonly raw: readonly string[];
  readonly path: string;
  readonly known: boolean;
  /** It lasts until somebody ends it. */
  readonly standing: boolean;
  readonly peer: P;
  readonly traffic: Traffic;
  readonly context: CallContext<P>;
}

const HEADERS = [':status', '200', 'content-type', 'application/grpc', 'grpc-accept-encoding', ACCEPTED_ENCODINGS];
const WITH_TRAILERS = { waitForTrailers: true, sendDate: false };
const TRAILERS_ONLY = { endStream: true, sendDate: false };

/** How long a failed call waits for its caller to read what was sent before the stream is reset. */
const LINGER_MS = 5_000;

/** The server's side of one RPC: everything that goes out, and how the call ends. */
export class ServerCall<P> implements Call<P> {
  readonly peer: P;
  readonly method: string;
  readonly standing: boolean;
  readonly #stream: ServerHttp2Stream;
  readonly #raw: readonly string[];
  readonly #context: CallContext<P>;
  readonly #traffic: Traffic;
  readonly #known: boolean;
  readonly #startMs: number;
  #metadata: Metadata | undefined;
  #controller: AbortController | undefined;
  #abortCode: 'cancelled' | 'deadline_exceeded' | 'unavailable' | undefined;
  #headers: string[] | undefined;
  #trailers: Record<string, string | string[]> | undefined;
  #status: Status | undefined;
  #error: unknown;
  #endListeners: (() => void)[] | undefined;
  #onDrained: (() => void) | undefined;
  #timer: Timer | undefined;
  #headersSent = false;
  #resetEarly = false;
  deadlineMs: number | undefined;

  constructor({ stream, raw, path, known, standing, peer, traffic, context }: CallParts<P>) {
    this.peer = peer;
    this.method = path;
    this.standing = standing;
    this.#stream = stream;
    this.#raw = raw;
    this.#known = known;
    this.#traffic = traffic;
    this.#context = context;
    this.#startMs = context.clock.monotonicMs();
  }

  get metadata(): Metadata {
    this.#metadata ??= new Metadata(this.#raw);
    return this.#metadata;
  }

  get ended(): boolean {
    return this.#status !== undefined;
  }

  /** Whether leading metadata went out: the caller has had some answer. */
  get headersSent(): boolean {
    return this.#headersSent;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortCode !== undefined) this.#controller.abort(this.#abortReason(this.#abortCode));
    }
    return this.#controller.signal;
  }

  setHeader(name: string, value: MetadataValue): void {
    if (this.#headersSent) throw new IdentityError('internal', `header "${name}" set after headers were sent`);
    this.#headers ??= [...HEADERS];
    this.#headers.push(name, encodeMetadata(name, value));
  }

  sendHeaders(): void {
    if (this.#headersSent || this.ended || this.#stream.destroyed || this.#stream.closed) return;
    this.#headersSent = true;
    this.#stream.on('wantTrailers', () => this.#sendTrailers());
    this.#stream.respond(this.#headers ?? HEADERS, WITH_TRAILERS);
  }

  setTrailer(name: string, value: MetadataValue): void {
    const encoded = encodeMetadata(name, value);
    this.#trailers ??= {};
    const before = this.#trailers[name];
    this.#trailers[name] = before === undefined ? encoded : [before, encoded].flat();
  }

  onEnd(listener: () => void): void {
    if (this.ended) listener();
    else (this.#endListeners ??= []).push(listener);
  }

  /** Arms the caller's deadline. */
  setDeadline(timeoutMs: number): void {
    this.deadlineMs = this.#startMs + timeoutMs;
    this.#timer = this.#context.clock.setTimer(timeoutMs, () => {
      this.abort('deadline_exceeded', { code: DEADLINE_EXCEEDED, message: 'the deadline of the call has passed' });
    });
  }

  /** Sends one framed message. False means: wait for {@link drained} before the next. */
  write(frame: Uint8Array): boolean {
    if (this.ended || this.#stream.destroyed || this.#stream.closed) return true;
    this.sendHeaders();
    this.#traffic.frames += 1;
    return this.#stream.write(frame);
  }

  /** Calls back when what was written has been taken, or the call is over. */
  drained(listener: () => void): void {
    if (this.#onDrained === undefined) {
      const wake = (): void => this.#onDrained?.();
      this.#stream.on('drain', wake);
      this.#onDrained = listener;
      this.onEnd(wake);
    } else this.#onDrained = listener;
  }

  /** Ends the call well, with its one answer. */
  answer(frame: Uint8Array): void {
    if (this.ended || this.#stream.destroyed || this.#stream.closed) return;
    this.sendHeaders();
    this.#end({ code: 0, message: '' });
    this.#stream.end(frame);
  }

  /** Ends the call with a status. Only the first end counts. */
  finish(status: Status): void {
    if (this.ended) return;
    const headersSent = this.#headersSent;
    this.#end(status);
    if (this.#stream.destroyed || this.#stream.closed) return;
    if (headersSent) this.#stream.end();
    else this.#respondTrailersOnly();
    if (status.code !== 0 && this.#stream.writableLength > 0) this.#linger();
  }

  fail(error: unknown): void {
    if (this.ended) return;
    this.#error = error;
    const status = statusOf(error);
    if (status.code === INTERNAL && !(error instanceof StatusError)) this.#context.onError(error, this.method);
    this.finish(status);
  }

  /** Ends the call because nobody waits for it any more, and tells the handler through its signal. */
  abort(code: 'cancelled' | 'deadline_exceeded' | 'unavailable', status: Status): void {
    if (this.ended) return;
    this.#abortCode = code;
    this.finish(status);
    this.#controller?.abort(this.#abortReason(code));
  }

  /** Ends the call because the server stops. */
  shutDown(): void {
    this.abort('unavailable', { code: UNAVAILABLE, message: 'the server is shutting down; try another or try again' });
  }

  /** The HTTP/2 stream is gone. True when its caller reset it before it had any answer. */
  closed(): boolean {
    this.#timer?.cancel();
    if (!this.ended) {
      this.#resetEarly = !this.#headersSent;
      this.abort('cancelled', { code: CANCELLED, message: 'the caller cancelled the call or went away' });
    }
    return this.#resetEarly;
  }

  // Made only when somebody asks: capturing a stack for each cancelled call would cost a tenth of the rate.
  #abortReason(code: 'cancelled' | 'deadline_exceeded' | 'unavailable'): IdentityError {
    return new IdentityError(code, this.#status?.message ?? '');
  }

  #end(status: Status): void {
    this.#status = status;
    const { onCallEnd, clock } = this.#context;
    if (onCallEnd !== undefined) {
      const method = this.#known ? this.method : 'unknown';
      const durationMs = clock.monotonicMs() - this.#startMs;
      onCallEnd({ method, code: status.code, durationMs, peer: this.peer, error: this.#error });
    }
    const listeners = this.#endListeners;
    this.#endListeners = undefined;
    if (listeners !== undefined) for (const listener of listeners) listener();
  }

  #allTrailers(): Record<string, string | string[]> {
    const status = this.#status ?? { code: INTERNAL, message: '' };
    return this.#trailers === undefined ? statusTrailers(status) : { ...this.#trailers, ...statusTrailers(status) };
  }

  #respondTrailersOnly(): void {
    this.#headersSent = true;
    const headers = this.#headers ?? HEADERS;
    const fields = Object.entries(this.#allTrailers()).flatMap(([name, value]) => [value].flat().flatMap((each) => [name, each]));
    this.#stream.respond([...headers, ...fields], TRAILERS_ONLY);
    this.#stopRequest();
  }

  #sendTrailers(): void {
    this.#stream.sendTrailers(this.#allTrailers());
    this.#stopRequest();
  }

  // A caller that still sends is told to stop: RST_STREAM with NO_ERROR after the complete answer (RFC 9113 section 8.1).
  #stopRequest(): void {
    if (this.#stream.readableEnded) return;
    this.#stream.resume();
    setImmediate(() => {
      if (!this.#stream.readableEnded && !this.#stream.destroyed) this.#stream.close(constants.NGHTTP2_NO_ERROR);
    });
  }

  #linger(): void {
    this.#timer?.cancel();
    this.#timer = this.#context.clock.setTimer(LINGER_MS, () => {
      if (!this.#stream.destroyed) this.#stream.close(constants.NGHTTP2_CANCEL);
    });
  }
}
