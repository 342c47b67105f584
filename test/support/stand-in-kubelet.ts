import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

/** What the kubelet was asked with. */
export interface KubeletRequest {
  readonly path: string;
  readonly authorization: string | undefined;
}

/** The kubelet's `/pods`, with answers that a test sets, over TLS or plain HTTP as on the read-only port. */
export class StandInKubelet implements AsyncDisposable {
  readonly requests: KubeletRequest[] = [];
  /** The items of its pod list. */
  pods: readonly unknown[] = [];
  /** The token that it wants; undefined takes any. */
  token: string | undefined;
  /** Sent instead of the pod list. */
  answer: { readonly status: number; readonly body: string } | undefined;
  /** Answers nothing until it resolves. */
  hold: Promise<void> | undefined;
  readonly #server: Server;

  private constructor(tls: ServerOptions | undefined) {
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => void this.#respond(request, response);
    this.#server = tls === undefined ? createHttpServer(onRequest) : createHttpsServer(tls, onRequest);
  }

  static async listen(tls?: ServerOptions): Promise<StandInKubelet> {
    const kubelet = new StandInKubelet(tls);
    kubelet.#server.listen(0, '127.0.0.1');
    await once(kubelet.#server, 'listening');
    return kubelet;
  }

  get port(): number {
    // Sound: it listens on TCP.
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #respond({ url = '', headers: { authorization } }: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push({ path: url, authorization });
    await this.hold;
    const refused = this.token !== undefined && authorization !== `Bearer ${this.token}`;
    const list = JSON.stringify({ kind: 'PodList', apiVersion: 'v1', items: this.pods });
    const { status, body } = this.answer ?? (refused ? { status: 401, body: 'Unauthorized' } : { status: 200, body: list });
    response.writeHead(status, { 'content-type': 'application/json' }).end(body);
  }
}
