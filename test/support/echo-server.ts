// An upstream that answers with what it got, to the byte.
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as it arrived behind a proxy. */
export interface Arrived {
  readonly method: string;
  /** The request target, untouched. */
  readonly target: string;
  /** Names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** A plain HTTP/1.1 server that keeps what it got. */
export class EchoServer implements AsyncDisposable {
  readonly arrived: Arrived[] = [];
  readonly #server;

  private constructor() {
    this.#server = createHttpServer({ insecureHTTPParser: true }, (request, response) => {
      const { method = '', url: target = '', rawHeaders: raw } = request;
      const headers = raw.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1] ?? ''] as const] : []));
      this.arrived.push({ method, target, headers });
      request.resume();
      response.end('from upstream');
    });
    this.#server.on('upgrade', (request, socket) => {
      this.arrived.push({ method: request.method ?? '', target: request.url ?? '', headers: [] });
      socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n');
      socket.pipe(socket);
    });
    this.#server.on('connect', (request, socket) => {
      this.arrived.push({ method: 'CONNECT', target: request.url ?? '', headers: [] });
      socket.end('HTTP/1.1 200 OK\r\n\r\n');
    });
  }

  static async start(): Promise<EchoServer> {
    const echo = new EchoServer();
    await new Promise<void>((resolve) => {
      echo.#server.listen(0, '127.0.0.1', resolve);
    });
    return echo;
  }

  get port(): number {
    // A server that listens on TCP has such an address.
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}
