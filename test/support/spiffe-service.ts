// Services and callers that have SVIDs, with the client library.
import { once } from 'node:events';
import { request as send, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { authorizeAny, SpiffeHttpsAgent, X509BundleSet, type X509Context } from '../../client/index.ts';
import { Current, type Source } from '../../core/current.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { parseX509SvidPem } from '../../spiffe/x509-svid.ts';
import type { CertificateOptions, TestCa } from './test-ca.ts';

/** The identity of a workload, as the Workload API would deliver it. */
export function identityOf(
  ca: TestCa,
  path: string,
  options: CertificateOptions = {},
  federated: readonly Bundle[] = [],
): Current<X509Context> {
  const { chainPem, keyPem } = ca.issueX509Svid(path, options);
  return new Current<X509Context>({
    svids: [{ ...parseX509SvidPem(chainPem, keyPem), hint: '' }],
    bundles: new X509BundleSet([ca.bundle(), ...federated]),
  });
}

/** A server that listens on a port of its own. */
export async function served(server: Server): Promise<AsyncDisposable & { readonly port: number }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A TCP server's address is never a path.
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.close().closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** A request of a service. */
export interface ServiceRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
}

/** Calls services over mTLS. */
export class ServiceCaller implements Disposable {
  readonly #agent: SpiffeHttpsAgent;

  constructor(identity: Source<X509Context>) {
    this.#agent = new SpiffeHttpsAgent(identity, { authorize: authorizeAny() });
  }

  async ask(port: number, { method = 'GET', path = '/', headers = {}, body = '' }: ServiceRequest = {}): Promise<ServiceAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<ServiceAnswer>();
    const options = {
      host: '127.0.0.1',
      port,
      method,
      path,
      headers: { host: 'orders', 'content-length': Buffer.byteLength(body), ...headers },
      agent: this.#agent,
    };
    send(options, (response) => {
      text(response).then((read) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: read }), reject);
    })
      .once('error', reject)
      .end(body);
    return promise;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** What a service answered. */
export interface ServiceAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}
