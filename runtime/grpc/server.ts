import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { DescService } from '@bufbuild/protobuf';
import { systemClock, type Clock } from '../../core/clock.ts';
import type { Call, CallEnd } from './call.ts';
import { Connection, type ConnectionContext } from './connection.ts';
import { DEFAULT_LIMITS, type ConnectionLimits } from './limits.ts';
import { parseHead, refusal } from './request-head.ts';
import { runCall } from './run-call.ts';
import { ServerCall, type CallContext } from './server-call.ts';
import { methodsOf, type Method, type ServiceHandlers, type ServiceOptions } from './service.ts';
import { UNIMPLEMENTED } from './status.ts';

/** How a {@link GrpcServer} is set up. */
export interface GrpcServerOptions<P> extends Partial<ConnectionLimits> {
  readonly clock?: Clock;
  /** Runs before the handler of every call; what it throws ends the call. For authorization, rate limits, logging. */
  readonly authorize?: (call: Call<P>) => void | Promise<void>;
  /** Told how each call ended, those of unknown methods included. */
  readonly onCallEnd?: (end: CallEnd<P>) => void;
  /** Told of what handlers threw that callers may not see; they get `internal error`. */
  readonly onError?: (error: unknown, method: string) => void;
}

/**
 * A gRPC server over `node:http2`, for sockets that were accepted elsewhere. `P` is what a listener knows of a connection's
 * peer; every handler gets it.
 *
 * @example
 * const server = new GrpcServer<Caller>({ clock, onError });
 * server.addService(Health, { check: (request, call) => ({ status: SERVING }) });
 * server.handleConnection(socket, peer);
 * await server.close({ graceMs: 5_000 });
 */
export class GrpcServer<P> {
  readonly #methods = new Map<string, Method<P>>();
  readonly #services: DescService[] = [];
  readonly #connections = new Set<Connection<P>>();
  readonly #context: CallContext<P>;
  readonly #connectionContext: ConnectionContext<P>;
  #closed: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: GrpcServerOptions<P> = {}) {
    const { clock = systemClock, authorize, onCallEnd, onError = () => {}, ...given } = options;
    const limits = { ...DEFAULT_LIMITS, ...given };
    this.#context = { clock, maxReceiveBytes: limits.maxReceiveBytes, authorize, onCallEnd, onError };
    this.#connectionContext = {
      clock,
      limits,
      onStream: (connection, stream, headers, raw) => this.#onStream({ connection, stream, headers, raw }),
      onClose: (connection) => this.#onClose(connection),
    };
  }

  /** The services that were added, for reflection. */
  get services(): readonly DescService[] {
    return this.#services;
  }

  /** Registers handlers by the local names of the service's methods; those left out answer UNIMPLEMENTED. */
  addService<S extends DescService>(desc: S, handlers: ServiceHandlers<S, P>, options?: ServiceOptions<S>): this {
    this.#services.push(desc);
    for (const method of methodsOf(desc, handlers, options)) this.#methods.set(method.path, method);
    return this;
  }

  /** Serves a socket that is connected (and, for TLS, verified) on behalf of a peer. */
  handleConnection(socket: Duplex, peer: P): void {
    if (this.#closed !== undefined) socket.destroy();
    else this.#connections.add(new Connection(socket, peer, this.#connectionContext));
  }

  /**
   * Stops: no new calls, those in flight have `graceMs` to finish before they end with UNAVAILABLE. Streams that would never
   * finish by themselves end with it at once.
   */
  close({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.#onEmpty = resolve;
      for (const connection of this.#connections) connection.shutDown(graceMs);
      if (this.#connections.size === 0) resolve();
    });
    return this.#closed;
  }

  #onClose(connection: Connection<P>): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #onStream(request: IncomingRequest<P>): void {
    const { connection, stream, headers } = request;
    // Without a listener a reset stream would throw; its end is handled on 'close'.
    stream.on('error', () => {});
    if (stream.destroyed || stream.aborted) return connection.countEarlyReset();
    const httpStatus = refusal(headers);
    if (httpStatus !== undefined) refuse(stream, httpStatus);
    else this.#startCall(request);
  }

  #startCall({ connection, stream, headers, raw }: IncomingRequest<P>): void {
    const path = headers[':path'] ?? '';
    const method = this.#methods.get(path);
    const { peer, traffic } = connection;
    const known = method !== undefined;
    const call = new ServerCall({
      stream,
      raw,
      path,
      known,
      standing: method?.standing ?? false,
      peer,
      traffic,
      context: this.#context,
    });
    connection.add(call);
    stream.on('close', () => connection.remove(call));
    if (method === undefined) return call.finish({ code: UNIMPLEMENTED, message: unknownMethod(path) });
    try {
      const { encoding, timeoutMs } = parseHead(headers);
      if (timeoutMs !== undefined) call.setDeadline(timeoutMs);
      const format = { desc: method.desc.input, encoding, maxBytes: this.#context.maxReceiveBytes };
      const start = (): void => (call.ended ? undefined : runCall({ call, method, stream, format, held: connection.held }));
      const allowed = this.#context.authorize?.(call);
      if (allowed === undefined) start();
      else allowed.then(start).catch((error: unknown) => call.fail(error));
    } catch (error) {
      call.fail(error);
    }
  }
}

/** A request as it arrived. */
interface IncomingRequest<P> {
  readonly connection: Connection<P>;
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly raw: readonly string[];
}

function unknownMethod(path: string): string {
  return /^\/[^/]+\/[^/]+$/.test(path) ? `unknown method ${path.slice(0, 200)}` : 'malformed method name';
}

const WITHOUT_BODY = { endStream: true, sendDate: false };

// What is no gRPC gets a plain HTTP answer.
function refuse(stream: ServerHttp2Stream, httpStatus: number): void {
  stream.respond({ ':status': httpStatus }, WITHOUT_BODY);
  stream.resume();
  setImmediate(() => (stream.destroyed ? undefined : stream.close()));
}
