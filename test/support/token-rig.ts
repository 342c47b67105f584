// A CA that exchanges tokens, with workloads that have SVIDs of it and a client for its token endpoint.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { createServer, request, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readStream } from 'node:stream/consumers';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { RunningCa } from './running-ca.ts';
import { TestCa } from './test-ca.ts';
import { createTestCsr } from './test-csr.ts';
import { createTestKey } from './test-keys.ts';

export const OWN_ISSUER = 'https://token.example.org';
export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
export const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** A client certificate with its key, PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** What the endpoint answered. */
export interface TokenAnswer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** How a request is sent. */
export interface Sending {
  readonly identity?: ClientCertificate | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly method?: string;
  readonly path?: string;
}

/** An https host of an issuer; the certificate is of a CA of its own. */
export class IssuerHost implements AsyncDisposable {
  static readonly #ca = TestCa.create({ nowMs: Date.now() });
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.url = `https://localhost:${port}`;
  }

  static get rootPem(): string {
    return IssuerHost.#ca.rootPem;
  }

  static async start(listener: RequestListener): Promise<IssuerHost> {
    const { chainPem, keyPem } = IssuerHost.#ca.issueX509Svid('/issuer', { dnsNames: ['localhost'] });
    const server = createServer({ cert: chainPem, key: keyPem }, listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    return new IssuerHost(server, typeof address === 'object' && address !== null ? address.port : 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A running CA with `listen.token`. */
export class TokenRig implements AsyncDisposable {
  readonly ca: RunningCa;
  readonly #folder: string;

  private constructor(ca: RunningCa, folder: string) {
    this.ca = ca;
    this.#folder = folder;
  }

  /** @param exchange the lines below `tokenExchange`, beside issuer and roots, each indented by two blanks */
  static async start(exchange: string, yaml = ''): Promise<TokenRig> {
    const folder = await mkdtemp(join(tmpdir(), 'token-rig-'));
    await writeFile(join(folder, 'roots.pem'), IssuerHost.rootPem);
    const ca = await RunningCa.start({
      folder,
      yaml: `
listen: { grpc: "127.0.0.1:0", admin: "unix:./admin/api.sock", http: "127.0.0.1:0", token: "127.0.0.1:0" }
tokenExchange:
  issuer: ${OWN_ISSUER}
  allowPrivateHosts: [localhost]
  webRootFiles: [./roots.pem]
${exchange}
${yaml}`,
    });
    return new TokenRig(ca, folder);
  }

  get port(): number {
    return this.ca.ca.tokenPort ?? 0;
  }

  /** An X.509-SVID of a workload. */
  async certificateOf(path: string): Promise<ClientCertificate> {
    const key = createTestKey();
    const csr = createTestCsr({ key, uris: [`spiffe://example.org${path}`] });
    const { svid } = await this.ca.local(SVID).mintX509SVID({ csr, ttl: 600 });
    const cert = (svid?.certChain ?? []).map((der) => encodePem('CERTIFICATE', der)).join('');
    return { cert, key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }

  /** A JWT-SVID of a workload. */
  async assertionOf(path: string, ...audience: readonly string[]): Promise<string> {
    const { svid } = await this.ca.local(SVID).mintJWTSVID({ id: { trustDomain: 'example.org', path }, audience: [...audience] });
    return svid?.token ?? '';
  }

  /** Asks for a token. Parameters that are `undefined` are left out. */
  ask(parameters: Readonly<Record<string, string | undefined>>, sending: Sending = {}): Promise<TokenAnswer> {
    const given = Object.entries(parameters).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
    return this.send(new URLSearchParams(Object.fromEntries(given)).toString(), sending);
  }

  /** Exchanges a token. */
  exchange(subjectToken: string, identity: ClientCertificate, parameters: Readonly<Record<string, string | undefined>> = {}) {
    const base = { grant_type: EXCHANGE, subject_token: subjectToken, subject_token_type: ACCESS_TOKEN };
    return this.ask({ ...base, ...parameters }, { identity });
  }

  send(form: string, { identity, headers, method = 'POST', path = '/oauth2/token' }: Sending = {}): Promise<TokenAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<TokenAnswer>();
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    const options = { host: '127.0.0.1', port: this.port, path, method, agent: false, rejectUnauthorized: false };
    request({ ...options, ...identity, headers: { ...type, ...headers } }, (response) => {
      readStream(response).then(
        (body) => resolve({ status: response.statusCode, headers: response.headers, body: parse(body) }),
        reject,
      );
    })
      .once('error', reject)
      .end(form);
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ca[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function parse(body: string): Readonly<Record<string, unknown>> {
  try {
    // The cast is sound: every JSON answer of the listener is an object; tests compare its members.
    return JSON.parse(body) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** The header and claims of a token, unverified. */
export function decoded(token: unknown): { readonly header: Record<string, unknown>; readonly claims: Record<string, unknown> } {
  const [header = '', claims = ''] = String(token).split('.');
  // The cast is sound: tests compare the members.
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
  return { header: read(header), claims: read(claims) };
}
