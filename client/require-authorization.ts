import type { IncomingMessage, ServerResponse } from 'node:http';
import { systemClock, type Clock } from '../core/clock.ts';
import type { User } from '../policy/model.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import type { AuthorizationAnswer, AuthorizationCall, AuthorizationClient } from './authorization.ts';
import { routingFault } from './express-routes.ts';
import { verifiedPeerOf } from './tls.ts';

/** Who calls, once {@link requireAuthorization} has let a request through. */
export interface RequestAuthorization {
  /** The caller's proven SPIFFE ID; absent where policies allow callers without one. */
  readonly source?: SpiffeId | undefined;
  /** The user, where the request has a token that a RequestAuthentication accepts. */
  readonly user?: User | undefined;
}

declare module 'node:http' {
  interface IncomingMessage {
    /** Set by `requireAuthorization`. */
    authorization?: RequestAuthorization;
  }
}

/** What {@link requireAuthorization} may be told. */
export interface RequireAuthorizationOptions {
  /** Which of this workload's identities is called; needed where it has several. */
  readonly destinationId?: SpiffeId;
  /**
   * Vouches that every route tells upper case from lower case, as policies do. Without it the routers of an Express application are
   * looked at, and a request that one of them could misread is answered with 503.
   */
  readonly routesAreCaseSensitive?: boolean;
  /** Told once why no request can be let through; a warning of the process unless given. */
  readonly onError?: (error: unknown) => void;
  readonly clock?: Clock;
}

/** A handler for Express, or for a listener of `node:http` that calls it with what to do next. */
export type AuthorizationHandler = (request: IncomingMessage, response: ServerResponse, next: () => void) => void;

/**
 * Lets requests through that the policies allow, and answers all others itself: 401 with `WWW-Authenticate` to users without a valid token,
 * 403 to what is denied, 503 while the agent cannot be asked, or while routes of Express ignore letter case. Put it before everything
 * that changes a request.
 *
 * @example
 * const client = createAuthorizationClient({ socket: '/run/countersign/authz.sock' });
 * const app = express().enable('case sensitive routing').use(requireAuthorization(client));
 * createSpiffeHttpsServer(source, { authorize: authorizeAny() }, app).listen(8443);
 */
export function requireAuthorization(
  client: AuthorizationClient,
  { destinationId, routesAreCaseSensitive = false, onError = warn, clock = systemClock }: RequireAuthorizationOptions = {},
): AuthorizationHandler {
  const isMisrouted = routesAreCaseSensitive ? () => false : misrouting(onError);
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<boolean> => {
    if (isMisrouted(request)) {
      deny(response, MISCONFIGURED);
      return false;
    }
    const peer = verifiedPeerOf(request.socket);
    if (peer?.isTrusted(clock.nowMs()) === false) {
      deny(response, OUTLIVED);
      return false;
    }
    const answer = await client.authorize({ ...callOf(request), destinationId });
    if (answer.verdict !== 'allow') deny(response, answer);
    else request.authorization = { source: peer?.id, user: answer.user };
    return answer.verdict === 'allow';
  };
  return (request, response, next) => {
    // The handler after this one is not called in the promise: its errors are its own.
    const pass = (isAllowed: boolean): void => void (isAllowed && process.nextTick(next));
    handle(request, response).then(pass, () => deny(response, FAILED));
  };
}

/** Tells whether an application could take a request for another than policies do, and says why once. */
function misrouting(onError: (error: unknown) => void): (request: IncomingMessage & { readonly app?: unknown }) => boolean {
  let isReported = false;
  return ({ app }) => {
    const fault = app === undefined ? undefined : routingFault(app);
    if (fault !== undefined && !isReported) {
      isReported = true;
      onError(fault);
    }
    return fault !== undefined;
  };
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error.message : String(error), 'CountersignWarning');
}

/**
 * The call that a request is, for `authorize`: the peer of its mTLS connection (of one of this library's servers), and the request
 * as it came. For requests that no middleware sees, such as those that ask for an upgrade.
 */
export function callOf(request: IncomingMessage & { readonly originalUrl?: string }): AuthorizationCall {
  const { socket, rawHeaders, method = '', url = '', originalUrl } = request;
  return {
    sourceId: verifiedPeerOf(socket)?.id,
    // An address of this link comes with the name of an interface.
    sourceAddress: socket.remoteAddress?.replace(/%.*$/, ''),
    port: socket.localPort,
    // Express takes from `url` what a handler is mounted at.
    request: { method, target: originalUrl ?? url, headers: pairsOf(rawHeaders) },
  };
}

function pairsOf(rawHeaders: readonly string[]): readonly (readonly [string, string])[] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) pairs.push([rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '']);
  return pairs;
}

type Denial = Pick<AuthorizationAnswer, 'status' | 'headers' | 'body'>;

const OUTLIVED: Denial = {
  status: 401,
  headers: { connection: 'close' },
  body: JSON.stringify({
    code: 'unauthenticated',
    message: "The certificate of the caller's connection has expired, or is not trusted any more.",
    action: 'Connect again with a new one.',
  }),
};
const MISCONFIGURED: Denial = {
  status: 503,
  headers: {},
  body: JSON.stringify({
    code: 'unavailable',
    message: 'The service is not set up so that its requests can be authorized.',
    action: 'Tell its owners; its own log says what is missing.',
  }),
};
const FAILED: Denial = { status: 503, headers: {} };

function deny(response: ServerResponse, { status, headers, body = '' }: Denial): void {
  if (response.headersSent) return void response.destroy();
  response.writeHead(status === 200 ? 403 : status, {
    'cache-control': 'no-store',
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    ...headers,
  });
  response.end(body);
}
