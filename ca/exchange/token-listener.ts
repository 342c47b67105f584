import { constants } from 'node:crypto';
import { createServer } from 'node:https';
import type { Server, ServerOptions } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Express, NextFunction, Request, Response } from 'express';
import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import type { ListenAddress } from '../../runtime/config-file.ts';
import { presentedChain } from '../../runtime/http2-sessions.ts';
import type { Logger } from '../../runtime/log.ts';
import { Counter } from '../../runtime/metrics.ts';
import type { Registry as MetricsRegistry } from '../../runtime/metrics.ts';
import { describePeer, tlsPeer } from '../../runtime/peer.ts';
import type { Peer } from '../../runtime/peer.ts';
import { publicError, WIRE_CODES } from '../../runtime/wire-errors.ts';
import { cannotListen } from '../api/listeners.ts';
import { RateLimiter } from '../api/rate-limit.ts';
import type { PublicCredentials } from '../http/public-listener.ts';
import { exchangeJwks } from './exchange-keys.ts';
import type { PublishedAuthorities } from './exchange-keys.ts';
import { authorizationServerMetadata } from './metadata.ts';
import { TokenError } from './token-error.ts';
import { parseForm } from './token-request.ts';
import type { TokenService } from './token-service.ts';

/** What the token listener serves. */
export interface TokenListenerOptions {
  readonly address: Extract<ListenAddress, { kind: 'tcp' }>;
  readonly credentials: Source<PublicCredentials>;
  readonly issuer: string;
  readonly service: TokenService;
  readonly registry: PublishedAuthorities;
  readonly clock: Clock;
  readonly log: Logger;
  /** Requests a second and client address; 0: no limit. */
  readonly perSecond: number;
  readonly metrics: MetricsRegistry;
}

/** The token listener, once it listens. */
export interface TokenListener extends AsyncDisposable {
  readonly port: number;
}

const MAX_BODY_BYTES = 64 * 1024;
const KEYS_MAX_AGE_SECONDS = 300;

/**
 * Serves the token endpoint, the keys of its tokens and its metadata, over TLS 1.3. A client certificate is asked for, not
 * demanded: workloads may authenticate by assertion, and keys are for everybody.
 */
export async function listenForTokens(options: TokenListenerOptions): Promise<TokenListener> {
  const { address, credentials } = options;
  const { default: express } = await import('express');
  const body = express.text({ type: 'application/x-www-form-urlencoded', limit: MAX_BODY_BYTES });
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  serveDocuments(app, options);
  const endpoint = new TokenEndpoint(options);
  app.post('/oauth2/token', endpoint.limit, body, endpoint.answer);
  app.all('/oauth2/token', (_request, response) => void response.status(405).set('allow', 'POST').end());
  app.use((_request, response) => void response.status(404).type('text/plain').send('not found\n'));
  app.use(endpoint.refuse);
  const server = createServer(tlsOf(credentials.value), app);
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  const unsubscribe = credentials.subscribe((next) => server.setSecureContext(tlsOf(next)));
  await listening(server, address);
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : 0,
    async [Symbol.asyncDispose]() {
      unsubscribe();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function serveDocuments(app: Express, { issuer, registry }: TokenListenerOptions): void {
  const metadata = JSON.stringify(authorizationServerMetadata(issuer));
  const send = (response: Response, document: string): void => {
    response.set('cache-control', `public, max-age=${KEYS_MAX_AGE_SECONDS}`).type('application/json').send(document);
  };
  app.get('/.well-known/oauth-authorization-server', (_request, response) => send(response, metadata));
  app.get('/oauth2/jwks', (_request, response) => send(response, exchangeJwks(registry)));
}

const peers = new WeakMap<TLSSocket, Peer>();

function peerOf({ socket }: Request): Peer {
  // The cast is sound: the server accepts nothing but TLS.
  const tls = socket as TLSSocket;
  let peer = peers.get(tls);
  if (peer === undefined) {
    peer = tlsPeer(presentedChain(tls), tls);
    peers.set(tls, peer);
  }
  return peer;
}

/** The handlers of `/oauth2/token`. */
class TokenEndpoint {
  readonly #options: TokenListenerOptions;
  readonly #limiter: RateLimiter;
  readonly #requests: Counter<'outcome'>;

  constructor(options: TokenListenerOptions) {
    const { clock, perSecond, metrics } = options;
    this.#options = options;
    // Nobody waits for a turn: the clients of a token endpoint retry.
    this.#limiter = new RateLimiter({ clock, perSecond, maxWaitMs: 0 });
    this.#requests = new Counter({
      name: 'countersign_token_requests_total',
      help: 'Requests to the token endpoint, by outcome: ok or the error',
      labelNames: ['outcome'],
      registers: [metrics],
    });
  }

  /** Before the body is read and anything is verified. */
  limit = (request: Request, _response: Response, next: NextFunction): void => {
    void this.#limiter.take({ address: request.socket.remoteAddress, count: 1, deadlineMs: undefined, signal: () => undefined });
    next();
  };

  answer = async (request: Request, response: Response): Promise<void> => {
    const form: unknown = request.body;
    if (typeof form !== 'string')
      throw new TokenError('invalid_request', 'send the parameters as application/x-www-form-urlencoded');
    const answer = await this.#options.service.answer({
      peer: peerOf(request),
      parameters: parseForm(form),
      hasAuthorization: request.headers.authorization !== undefined,
    });
    this.#requests.inc({ outcome: 'ok' });
    // RFC 6749 §5.1.
    response.set('cache-control', 'no-store').json(answer);
  };

  /** RFC 6749 §5.2. The four parameters are how express knows that this handles errors. */
  refuse = (thrown: unknown, request: Request, response: Response, _next: NextFunction): void => {
    const { status, error, description, retryAfterMs } = refusalOf(thrown);
    this.#requests.inc({ outcome: error });
    this.#options.log.info({ err: thrown, outcome: error, client: describePeer(peerOf(request)) }, 'token refused');
    if (status === 401) response.set('www-authenticate', 'Bearer');
    if (retryAfterMs !== undefined) response.set('retry-after', String(Math.ceil(retryAfterMs / 1000)));
    response.status(status).set('cache-control', 'no-store').json({ error, error_description: description });
  };
}

interface Refusal {
  readonly status: number;
  readonly error: string;
  readonly description: string;
  readonly retryAfterMs?: number | undefined;
}

function refusalOf(thrown: unknown): Refusal {
  if (thrown instanceof TokenError) {
    return { status: thrown.error === 'invalid_client' ? 401 : 400, error: thrown.error, description: printable(thrown.message) };
  }
  const status = bodyFault(thrown);
  if (status !== undefined) return { status, error: 'invalid_request', description: 'the body cannot be read' };
  const { code, message, retryAfterMs } = publicError(thrown);
  const isTemporary = code === 'unavailable' || code === 'resource_exhausted';
  const error = isTemporary ? 'temporarily_unavailable' : 'server_error';
  return { status: isTemporary ? WIRE_CODES[code].http : 500, error, description: printable(message), retryAfterMs };
}

/** What the body parser throws: too large, an unknown charset, cut off. */
function bodyFault(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('type' in thrown) || !('status' in thrown)) return undefined;
  const { status } = thrown;
  return typeof status === 'number' && status >= 400 && status < 500 ? status : undefined;
}

/** RFC 6749 §5.2: the characters that a description may have. */
function printable(text: string): string {
  return text.replaceAll(/[^\u0020-\u0021\u0023-\u005B\u005D-\u007E]/g, "'");
}

/** As for gRPC: no session is resumed, since that would skip the client's certificate, and Node judges no certificate itself. */
function tlsOf({ certificatePem, privateKeyPem }: PublicCredentials): ServerOptions {
  return {
    cert: certificatePem,
    key: privateKeyPem,
    minVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
    requestCert: true,
    rejectUnauthorized: false,
    ca: [],
  };
}

async function listening(server: Server, address: TokenListenerOptions['address']): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen('listen.token', address, error)));
    server.listen(address.port, address.host, resolve);
  });
}
