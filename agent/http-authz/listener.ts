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
}

// nginx reads 32 KiB of headers unless configured otherwise, and policies look at 64.
const MAX_HEADER_BYTES = 96 * 1024;
// Both ends are on one machine: who is slower than this does not mean to be served.
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const CHECK_INTERVAL_MS = 1_000;
// Longer than nginx keeps its own end open (60 s), so that it never writes to a connection that is being closed.
const KEEP_ALIVE_MS = 75_000;
const MAX_CONNECTIONS = 4_096;
// No process keeps all others out.
const MAX_CONNECTIONS_OF_A_PROCESS = 512;

/**
 * Serves HTTP/1.1 on a unix socket whose callers are attested, each again at each request.
 *
 * @throws IdentityError as `listenOnPath` does
 */
export async function listenForCalls(options: CallListenerOptions): Promise<AsyncDisposable> {
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  });
  server.maxConnections = MAX_CONNECTIONS;
  const callers = new Callers(options.accept);
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

  constructor(accept: (socket: Socket) => Workload) {
    this.#accept = accept;
  }

  add(socket: Socket): void {
    const workload = this.#accept(socket);
    const { pid } = workload;
    this.#workloads.set(socket, workload);
    const count = (this.#connections.get(pid) ?? 0) + 1;
    this.#connections.set(pid, count);
    socket.once('close', () => this.#remove(pid));
    if (count > MAX_CONNECTIONS_OF_A_PROCESS) socket.destroy();
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
    const workload = callers.of(request.socket);
    if (workload === undefined) return refusal(403, 'caller_refused');
    const attested = workload.attest(gone.signal);
    return await answer(request, attested instanceof Promise ? await attested : attested);
  } catch (error) {
    return isIdentityError(error, 'unavailable') ? refusal(503, 'caller_unavailable') : refusal(403, 'caller_refused');
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
