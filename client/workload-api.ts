import { connect as connectNet } from 'node:net';

import { Code, ConnectError, createClient, type Client } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';

import { IdentityError, isIdentityError, type ErrorCode } from '../core/errors.ts';
import { SpiffeWorkloadAPI } from '../proto/gen/spiffe/workload/workload_pb.ts';
import { parseTokenKeySet, type Bundle } from '../spiffe/bundle.ts';
import { parseJwtSvidInsecure, type JwtSvid } from '../spiffe/jwt-svid.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../spiffe/trust-domain.ts';
import { parseWitSvidInsecure, type WitSvid } from '../spiffe/wit-svid.ts';
import { findWorkloadEndpoint, type WorkloadEndpoint } from './endpoint.ts';
import { parseX509Bundles, parseX509Context, type X509BundleSet, type X509Context } from './x509-context.ts';

/** A JWT-SVID with its text. */
export interface HintedJwtSvid extends JwtSvid {
  readonly token: string;
  readonly hint: string;
}

/** A WIT-SVID with its text and the JWK of the workload's private key. */
export interface HintedWitSvid extends WitSvid {
  readonly token: string;
  readonly privateKeyJwk: string;
  readonly hint: string;
}

/** What {@link WorkloadApi.fetchJwtSvid} asks for. */
export interface JwtSvidRequest {
  /** Who will accept the token; at least one. */
  readonly audience: readonly string[];
  /** Which of the workload's identities; the default one unless given. */
  readonly spiffeId?: SpiffeId;
}

/** How to reach an agent. */
export interface WorkloadApiOptions {
  /** Such as `unix:///run/agent/api.sock`; what SPIFFE_ENDPOINT_SOCKET names unless given. */
  readonly address?: string;
  /** How long a call that is no stream may take, in milliseconds; 30 s unless given. */
  readonly timeoutMs?: number;
}

// SPIFFE Workload Endpoint §6: agents refuse requests without it, so that no forged HTTP request of a browser gets through.
const SECURITY_HEADER = { 'workload.spiffe.io': 'true' };

/**
 * The SPIFFE Workload API as a workload calls it. Works with any SPIFFE agent.
 *
 * Every method throws an IdentityError with the agent's code: `permission_denied` when no entry matches the workload,
 * `unavailable` when the agent is not there or not ready.
 *
 * @example
 * using api = new WorkloadApi();
 * const { svids } = await api.fetchX509Context();
 * console.log(svids[0].id.toString());
 */
export class WorkloadApi implements Disposable {
  readonly #sessions: Http2SessionManager;
  readonly #client: Client<typeof SpiffeWorkloadAPI>;
  readonly #timeoutMs: number;

  constructor(options: WorkloadApiOptions = {}) {
    const endpoint = findWorkloadEndpoint(options.address);
    const baseUrl = 'http://localhost';
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#sessions = new Http2SessionManager(
      baseUrl,
      { pingIntervalMs: 60_000 },
      { createConnection: () => openSocket(endpoint) },
    );
    this.#client = createClient(SpiffeWorkloadAPI, createGrpcTransport({ baseUrl, sessionManager: this.#sessions }));
  }

  /** The SVIDs and bundles of this moment. */
  async fetchX509Context(): Promise<X509Context> {
    return first(this.watchX509Context());
  }

  /** The SVIDs and bundles, then the whole again after each change; ends when the signal aborts. */
  async *watchX509Context(signal?: AbortSignal): AsyncGenerator<X509Context, void, undefined> {
    yield* translated(this.#client.fetchX509SVID({}, streamOptions(signal)), parseX509Context, signal);
  }

  /** The bundles that X.509-SVIDs of peers are verified with; also for a workload without an identity of its own. */
  async fetchX509Bundles(): Promise<X509BundleSet> {
    return first(this.watchX509Bundles());
  }

  /** The X.509 bundles, then the whole again after each change; ends when the signal aborts. */
  async *watchX509Bundles(signal?: AbortSignal): AsyncGenerator<X509BundleSet, void, undefined> {
    yield* translated(this.#client.fetchX509Bundles({}, streamOptions(signal)), parseX509Bundles, signal);
  }

  /** One JWT-SVID, of the named or else the default identity. */
  async fetchJwtSvid(request: JwtSvidRequest): Promise<HintedJwtSvid> {
    const [svid] = await this.fetchJwtSvids(request);
    if (svid === undefined) throw new IdentityError('internal', 'the agent answered without a JWT-SVID');
    return svid;
  }

  /** A JWT-SVID for each identity of the workload, or for the named one. */
  async fetchJwtSvids({ audience, spiffeId }: JwtSvidRequest): Promise<readonly HintedJwtSvid[]> {
    const { svids } = await this.#call((client, options) =>
      client.fetchJWTSVID({ audience: [...audience], spiffeId: spiffeId?.toString() ?? '' }, options),
    );
    return svids.map(({ svid, hint }) => ({ ...parseJwtSvidInsecure(svid), token: svid, hint }));
  }

  /** Has the agent verify a JWT-SVID that this workload was given. */
  async validateJwtSvid(
    token: string,
    audience: string,
  ): Promise<{ readonly id: SpiffeId; readonly claims: Readonly<Record<string, unknown>> }> {
    const { spiffeId, claims } = await this.#call((client, options) =>
      client.validateJWTSVID({ svid: token, audience }, options),
    );
    return { id: parseSpiffeId(spiffeId), claims: claims ?? {} };
  }

  /** The bundles that JWT-SVIDs are verified with, then the whole again after each change; ends when the signal aborts. */
  async *watchJwtBundles(signal?: AbortSignal): AsyncGenerator<readonly Bundle[], void, undefined> {
    const parse = ({ bundles }: { readonly bundles: Readonly<Record<string, Uint8Array>> }): readonly Bundle[] =>
      Object.entries(bundles).map(([id, document]) => parseTokenKeySet(document, parseTrustDomain(id), 'jwt'));
    yield* translated(this.#client.fetchJWTBundles({}, streamOptions(signal)), parse, signal);
  }

  /** The WIT-SVIDs with their keys, then the whole again after each change; ends when the signal aborts. */
  async *watchWitSvids(signal?: AbortSignal): AsyncGenerator<readonly HintedWitSvid[], void, undefined> {
    yield* translated(
      this.#client.fetchWITSVID({}, streamOptions(signal)),
      ({ svids }) =>
        svids.map(({ witSvid, witSvidKey, hint }) => ({
          ...parseWitSvidInsecure(witSvid),
          token: witSvid,
          privateKeyJwk: witSvidKey,
          hint,
        })),
      signal,
    );
  }

  /** The bundles that WIT-SVIDs are verified with, then the whole again after each change; ends when the signal aborts. */
  async *watchWitBundles(signal?: AbortSignal): AsyncGenerator<readonly Bundle[], void, undefined> {
    const parse = ({ bundles }: { readonly bundles: Readonly<Record<string, string>> }): readonly Bundle[] =>
      Object.entries(bundles).map(([id, document]) => parseTokenKeySet(document, parseTrustDomain(id), 'wit'));
    yield* translated(this.#client.fetchWITBundles({}, streamOptions(signal)), parse, signal);
  }

  [Symbol.dispose](): void {
    this.#sessions.abort();
  }

  async #call<T>(
    call: (
      client: Client<typeof SpiffeWorkloadAPI>,
      options: { headers: Record<string, string>; timeoutMs: number },
    ) => Promise<T>,
  ): Promise<T> {
    try {
      return await call(this.#client, { headers: SECURITY_HEADER, timeoutMs: this.#timeoutMs });
    } catch (error) {
      throw workloadError(error);
    }
  }
}

function openSocket(endpoint: WorkloadEndpoint): ReturnType<typeof connectNet> {
  return endpoint.kind === 'unix' ? connectNet(endpoint.path) : connectNet(endpoint.port, endpoint.host);
}

function streamOptions(signal: AbortSignal | undefined): { headers: Record<string, string>; signal?: AbortSignal } {
  return { headers: SECURITY_HEADER, ...(signal === undefined ? {} : { signal }) };
}

async function first<T>(values: AsyncGenerator<T, void, undefined>): Promise<T> {
  for await (const value of values) return value;
  throw new IdentityError('unavailable', 'the agent ended the stream before its first message; try again');
}

async function* translated<M, T>(
  messages: AsyncIterable<M>,
  parse: (message: M) => T,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  try {
    for await (const message of messages) yield parse(message);
  } catch (error) {
    if (signal?.aborted) return;
    throw workloadError(error);
  }
}

const CODES: Readonly<Partial<Record<Code, ErrorCode>>> = {
  [Code.Canceled]: 'cancelled',
  [Code.InvalidArgument]: 'invalid_argument',
  [Code.DeadlineExceeded]: 'deadline_exceeded',
  [Code.NotFound]: 'not_found',
  [Code.PermissionDenied]: 'permission_denied',
  [Code.ResourceExhausted]: 'resource_exhausted',
  [Code.FailedPrecondition]: 'failed_precondition',
  [Code.Unimplemented]: 'unimplemented',
  [Code.Unavailable]: 'unavailable',
  [Code.Unauthenticated]: 'unauthenticated',
};

function workloadError(error: unknown): IdentityError {
  if (isIdentityError(error)) return error;
  const wire = ConnectError.from(error);
  if (isConnectionFailure(wire.cause)) {
    const message = `cannot reach the Workload API (${wire.rawMessage}); is the agent running, and may this user open its socket?`;
    return new IdentityError('unavailable', message, { cause: wire });
  }
  return new IdentityError(CODES[wire.code] ?? 'internal', `Workload API: ${wire.rawMessage}`, { cause: wire });
}

/** Whether the socket itself could not be opened: Node's system errors carry the name of their system call. */
function isConnectionFailure(cause: unknown): boolean {
  return cause instanceof Error && 'syscall' in cause && cause.syscall === 'connect';
}
