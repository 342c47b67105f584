// nginx with the configuration of docs/nginx.md before a service, and the agent that decides.
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { Nginx } from './nginx.ts';
import { openRaw, type RawAnswer, sendRaw } from './raw-http.ts';

/** The guide. */
export function readGuide(): string {
  return readFileSync(join(import.meta.dirname, '../../docs/nginx.md'), 'utf8');
}

/** The configuration in it. */
export function guideConfiguration(): string {
  return /^```nginx\n(user [^]*?)^```$/m.exec(readGuide())?.[1] ?? '';
}

/** A certificate with its key, PEM. */
export interface PemIdentity {
  readonly chainPem: string;
  readonly keyPem: string;
}

/** A request in raw form: characters are bytes. What is left out is usual. */
export interface RawRequestLine {
  readonly method?: string;
  readonly target?: string;
  /** `null`: no `Host` line, beside those among the headers. */
  readonly host?: string | null;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly body?: string;
}

export interface NginxRigOptions {
  /** The agent's socket. */
  readonly authz: string;
  readonly identity: PemIdentity;
  /** PEM of the authorities whose clients nginx lets connect. */
  readonly roots: string;
  /** Changes the configuration. */
  readonly edit?: (configuration: string) => string;
}

/** nginx before a service that says what it was asked. */
export class NginxRig implements AsyncDisposable {
  readonly nginx: Nginx;
  readonly port: number;
  /** Requests that came through to the service. */
  readonly served: IncomingMessage[];
  readonly #resources: AsyncDisposableStack;

  private constructor(nginx: Nginx, port: number, served: IncomingMessage[], resources: AsyncDisposableStack) {
    this.nginx = nginx;
    this.port = port;
    this.served = served;
    this.#resources = resources;
  }

  static async start({ authz, identity, roots, edit = (text) => text }: NginxRigOptions): Promise<NginxRig> {
    await using resources = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), 'identity-'));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const files = { 'svid.pem': identity.chainPem, 'key.pem': identity.keyPem, 'bundle.pem': roots };
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    const served: IncomingMessage[] = [];
    const service = createServer({ maxHeaderSize: 65_536 }, (request, response) => {
      served.push(request);
      response.setHeader('content-length', 6).end('served');
    });
    await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
    resources.defer(() => service.close().closeAllConnections());
    const port = await freePort();
    // A TCP server's address is never a path.
    const { port: servicePort } = service.address() as AddressInfo;
    const configuration = guideConfiguration()
      .replaceAll('/run/countersign/authz.sock', authz)
      .replaceAll('/run/identity', folder)
      .replace('127.0.0.1:8080', `127.0.0.1:${servicePort}`)
      .replace('listen 8443', `listen 127.0.0.1:${port}`);
    const nginx = resources.use(await Nginx.start(edit(configuration), port));
    return new NginxRig(nginx, port, served, resources.move());
  }

  /** A request over mTLS, or without a certificate. */
  ask(
    { method = 'GET', target = '/', host = 'orders', headers = [], body = '' }: RawRequestLine,
    identity?: PemIdentity,
  ): Promise<RawAnswer> {
    const fields = [...(host === null ? [] : [['Host', host] as const]), ...headers, ['Connection', 'close'] as const];
    const head = [`${method} ${target} HTTP/1.1`, ...fields.map(([name, value]) => `${name}: ${value}`)];
    return sendRaw(this.#target(identity), head, body);
  }

  /** A connection, its handshake done. */
  connect(identity?: PemIdentity): Promise<Socket> {
    return openRaw(this.#target(identity));
  }

  #target(identity: PemIdentity | undefined) {
    return { port: this.port, tls: { certificate: identity && { cert: identity.chainPem, key: identity.keyPem } } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}
