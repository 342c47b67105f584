import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isIdentityError } from '../../core/errors.ts';
import { listenOnPath } from '../../runtime/unix-socket.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import { type Answer, refusal } from './answer.ts';

/** What {@link listenForCalls} serves. */
export interface CallListenerOptions {
  readonly path: string;
  /** Permission bits of the socket file. */
  readonly mode: number;
  /** Takes hold of the process that connected. */
  readonly accept: (socket: Socket) => Workload;
  /** Never throws. */
  readonly answer: (request: IncomingMessage, asking: SelectorSet) => Promise<Answer>;
  readonly limits?: Partial<CallListenerLimits>;
}

/** What one connection may cost, and all of them. */
export interface CallListenerLimits {
  readonly maxHeaderBytes: number;
  /** Until the headers of a request are there, and until all of it is. */
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** How long a connection may be quiet between requests. */
  readonly keepAliveMs: number;
  readonly maxConnections: number;
  /** No process keeps all others out. */
  readonly maxConnectionsOfProcess: number;
}

const DEFAULT_LIMITS: CallListenerLimits = {
  // nginx reads 32 KiB of headers unless configured otherwise, and policies look at 64.
  maxHeaderBytes: 96 * 1024,
  // Both ends are on one machine: who is slower than this does not mean to be served.
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  // Longer than nginx keeps its own end open (60 s), so that it never writes to a connection that is being closed.
  keepAliveMs: 75_000,
  maxConnections: 4_096,
  maxConnectionsOfProcess: 512,
};

/**
 * Serves HTTP/1.1 on a unix socket whose callers are attested, each again at each request.
 *
 * @throws IdentityError as `listenOnPath` does
 */
export async function listenForCalls(options: CallListenerOptions): Promise<AsyncDisposable> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const server = createServer({
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: Math.min(1_000, limits.headersTimeoutMs),
  });
  server.maxConnections = limits.maxConnections;
  const callers = new Callers(options.accept, limits.maxConnectionsOfProcess);
  server.prependListener('connection', (socket: Socket) => callers.add(socket));
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    void answerTo(request, callers, options.answer).then((answer) => write(request, response, answer));
  };
  // What is expected before a body is sent concerns the request that is asked about, and not this one.
  for (const event of ['request', 'checkContinue', 'checkExpectation']) server.on(event, serve);
  const listener = await listenOnPath(server, options.path, options.mode);
  return { [Symbol.asyncDispose]: () => close(server, listener) };
}

async function close(server: Server, listener: AsyncDisposable): Promise<void> {
  await listener[Symbol.asyncDispose]();
  server.closeIdleConnections();
  server.closeAllConnections();
}

/** Who is at the other end of each connection. */
class Callers {
  readonly #accept: (socket: Socket) => Workload;
  readonly #workloads = new WeakMap<Socket, Workload>();
  readonly #connections = new Map<number, number>();
  readonly #maxOfProcess: number;

  constructor(accept: (socket: Socket) => Workload, maxOfProcess: number) {
    this.#accept = accept;
    this.#maxOfProcess = maxOfProcess;
  }

  add(socket: Socket): void {
    const workload = this.#accept(socket);
    const { pid } = workload;
    this.#workloads.set(socket, workload);
    const count = (this.#connections.get(pid) ?? 0) + 1;
    this.#connections.set(pid, count);
    socket.once('close', () => this.#remove(pid));
    if (count > this.#maxOfProcess) socket.destroy();
  }

  of(socket: Socket): Workload | undefined {
    return this.#workloads.get(socket);
  }

  #remove(pid: number): void {
    const count = (this.#connections.get(pid) ?? 1) - 1;
    if (count === 0) this.#connections.delete(pid);
    else this.#connections.set(pid, count);
  }
}

async function answerTo(request: IncomingMessage, callers: Callers, answer: CallListenerOptions['answer']): Promise<Answer> {
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  request.socket.once('close', onClose);
  try {
    const asking = await callers.of(request.socket)?.attest(gone.signal);
    return asking === undefined ? refusal(403, 'caller_refused') : await answer(request, asking);
  } catch (error) {
    return isIdentityError(error, 'permission_denied') ? refusal(403, 'caller_refused') : refusal(503, 'internal');
  } finally {
    request.socket.off('close', onClose);
  }
}

function write(request: IncomingMessage, response: ServerResponse, { status, headers, body = '' }: Answer): void {
  // What was not read of a body must not be taken for the next request.
  const rest = request.complete ? {} : { connection: 'close' };
  response.writeHead(status, { 'cache-control': 'no-store', 'content-length': Buffer.byteLength(body), ...headers, ...rest });
  response.end(body);
}
