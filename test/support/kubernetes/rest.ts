// The API server as the tests themselves speak to it: plain requests, so that no client of ours is needed to test one.
import { Agent, request } from 'node:https';

import type { KeyPairPem } from './pki.ts';

/** An answer. */
export interface RestAnswer {
  readonly status: number;
  /** Parsed where it is JSON, else text. */
  readonly body: unknown;
}

/** An object of Kubernetes, as loosely as tests read it. */
export interface TestObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/** Where the API server is and who asks. */
export interface RestOptions {
  readonly url: string;
  readonly caPem: string;
  readonly credentials: KeyPairPem;
}

/** A keep-alive connection to an API server. */
export class RestClient {
  readonly #url: string;
  readonly #agent: Agent;

  constructor({ url, caPem, credentials: { certificate, key } }: RestOptions) {
    this.#url = url;
    this.#agent = new Agent({ keepAlive: true, ca: caPem, cert: certificate, key });
  }

  /** One request. A body is sent as JSON, or as what `contentType` says. */
  async send(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<RestAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<RestAnswer>();
    const text = body === undefined ? '' : JSON.stringify(body);
    // Node frames the body of a DELETE only when it is told the length.
    const headers = text === '' ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(text) };
    const outgoing = request(new URL(path, this.#url), { method, agent: this.#agent, headers }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
      incoming.on('end', () => {
        const answer = Buffer.concat(chunks).toString();
        const isJson = incoming.headers['content-type']?.startsWith('application/json') ?? false;
        // The cast is sound: JSON.parse gives what is unknown.
        resolve({ status: incoming.statusCode ?? 0, body: isJson ? (JSON.parse(answer) as unknown) : answer });
      });
    });
    outgoing.on('error', reject).end(text);
    return promise;
  }

  /** As {@link send}, for what must succeed. @throws Error with the server's own message */
  async expect(method: string, path: string, body?: unknown, contentType?: string): Promise<TestObject> {
    const answer = await this.send(method, path, body, contentType);
    // The cast is sound: the API server answers these with an object of the asked kind.
    if (answer.status < 300) return answer.body as TestObject;
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  close(): void {
    this.#agent.destroy();
  }
}
