// An HTTP server that answers as a test tells it: for what a real API server does only rarely, or never should.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { pino } from 'pino';

import { systemClock, type Clock } from '../../../core/clock.ts';
import type { ApiServerAccess } from '../../../runtime/kubernetes/access.ts';
import { KubeClient } from '../../../runtime/kubernetes/client.ts';

/** One request as the stand-in saw it. */
export interface SeenRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Answers one request; it may leave it unanswered. */
export type Answer = (request: SeenRequest, response: ServerResponse) => void | Promise<void>;

/** A stand-in for an API server; `answer` may be replaced at any time. */
export class StandInApi implements AsyncDisposable {
  readonly seen: SeenRequest[] = [];
  answer: Answer;
  readonly #server: Server;

  private constructor(server: Server, answer: Answer) {
    this.#server = server;
    this.answer = answer;
  }

  static async start(answer: Answer): Promise<StandInApi> {
    const server = createServer();
    const api = new StandInApi(server, answer);
    server.on('request', (request, response) => void api.#serve(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return api;
  }

  get url(): URL {
    // The cast is sound: the server listens on TCP.
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  /** A client of this server. */
  client(clock: Clock = systemClock, access: Partial<ApiServerAccess> = {}): KubeClient {
    const material = async (): ReturnType<ApiServerAccess['material']> => ({ tls: {} });
    return new KubeClient({ access: { url: this.url, material, ...access }, clock, log: pino({ level: 'silent' }) });
  }

  /** Breaks every connection. */
  breakConnections(): void {
    this.#server.closeAllConnections();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk));
    const seen = {
      method: request.method ?? '',
      url: new URL(request.url ?? '', this.url),
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    this.seen.push(seen);
    await this.answer(seen, response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Answers with JSON. */
export function json(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** A Status as the API server sends it with a refusal. */
export function status(code: number, reason: string, message: string, details: unknown = {}): Record<string, unknown> {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message, details };
}
