import * as http from 'node:http';
import * as https from 'node:https';

import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { AccessMaterial, ApiServerAccess } from './access.ts';

/** One request as it goes over the wire. */
export interface WireRequest {
  readonly method: string;
  /** Path with query. */
  readonly path: string;
  readonly contentType?: string;
  readonly body?: string;
  /** Ends the request, and the reading of its answer, with the signal's reason. */
  readonly signal: AbortSignal;
  /** A watch: its connection is not one of the few that requests share. */
  readonly watch?: boolean;
}

/** What {@link Transport} needs. */
export interface TransportOptions {
  readonly access: ApiServerAccess;
  readonly clock: Clock;
  readonly userAgent: string;
}

interface Agents {
  readonly material: AccessMaterial;
  readonly requests: http.Agent;
  readonly watches: http.Agent;
}

/** Requests in flight at once; more wait. The API server's own fairness takes care of the rest. */
const MAX_CONNECTIONS = 24;
/** The kernel finds a peer that vanished some ten seconds after this. */
const KEEP_ALIVE_PROBE_MS = 30_000;
/** Unused connections are closed before the API server does so (after 90 s), perhaps while a request is on its way. */
const IDLE_MS = 60_000;
/** How long connections with outdated credentials may still finish what they are at. */
const RETIRE_AFTER_MS = 60_000;

/** Sends requests over kept connections, with credentials that are renewed as they change. */
export class Transport implements Disposable {
  readonly #options: TransportOptions;
  #agents: Agents | undefined;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /**
   * Sends a request; once more with credentials read anew when they are refused, and once more when a kept connection had
   * been closed and the request changes nothing.
   *
   * @throws IdentityError `unavailable` when the server cannot be reached; the signal's reason when it aborted
   */
  async send(request: WireRequest): Promise<http.IncomingMessage> {
    const response = await this.#sendOnKept(request, false);
    if (response.statusCode !== 401) return response;
    response.resume();
    return this.#sendOnKept(request, true);
  }

  async #sendOnKept(request: WireRequest, refused: boolean): Promise<http.IncomingMessage> {
    const material = await this.#options.access.material(refused);
    const first = await this.#once(request, material);
    if (first.response !== undefined) return first.response;
    const again = first.reused && request.method === 'GET' && !request.signal.aborted;
    const second = again ? await this.#once(request, material) : first;
    if (second.response !== undefined) return second.response;
    throw request.signal.aborted ? request.signal.reason : unreachable(this.#options.access.url, second.error);
  }

  async #once(
    wire: WireRequest,
    material: AccessMaterial,
  ): Promise<{ response?: http.IncomingMessage; error?: Error; reused: boolean }> {
    const agents = this.#agentsFor(material);
    const { url } = this.#options.access;
    const send = url.protocol === 'http:' ? http.request : https.request;
    const request = send(new URL(joined(url, wire.path)), {
      method: wire.method,
      headers: this.#headers(wire, material),
      agent: wire.watch === true ? agents.watches : agents.requests,
      signal: wire.signal,
    });
    return new Promise((resolve) => {
      request.once('response', (response) => resolve({ response, reused: request.reusedSocket }));
      request.on('error', (error) => resolve({ error, reused: request.reusedSocket }));
      request.end(wire.body);
    });
  }

  #headers(wire: WireRequest, material: AccessMaterial): http.OutgoingHttpHeaders {
    return {
      accept: 'application/json',
      'user-agent': this.#options.userAgent,
      ...(wire.body === undefined
        ? {}
        : { 'content-type': wire.contentType ?? 'application/json', 'content-length': Buffer.byteLength(wire.body) }),
      ...(material.authorization === undefined ? {} : { authorization: material.authorization }),
    };
  }

  #agentsFor(material: AccessMaterial): Agents {
    const known = this.#agents;
    if (known !== undefined && sameConnection(known.material, material)) return known;
    if (known !== undefined) this.#options.clock.setTimer(RETIRE_AFTER_MS, () => destroy(known));
    this.#agents = agentsOf(this.#options.access.url, material);
    return this.#agents;
  }

  /** Closes every connection, watches included. */
  [Symbol.dispose](): void {
    if (this.#agents !== undefined) destroy(this.#agents);
  }
}

function agentsOf(url: URL, material: AccessMaterial): Agents {
  const { proxy } = material;
  if (proxy !== undefined) return { material, requests: proxy, watches: proxy };
  const options = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_PROBE_MS, scheduling: 'lifo' as const };
  const make = (limits: http.AgentOptions): http.Agent =>
    url.protocol === 'http:'
      ? new http.Agent({ ...options, ...limits })
      : new https.Agent({ ...options, ...limits, ...material.tls });
  return { material, requests: make({ maxSockets: MAX_CONNECTIONS, timeout: IDLE_MS }), watches: make({}) };
}

function destroy({ requests, watches }: Agents): void {
  requests.destroy();
  watches.destroy();
}

/** Whether two materials can share connections; a header does not belong to a connection. */
function sameConnection(one: AccessMaterial, other: AccessMaterial): boolean {
  if (one === other) return true;
  const keys = new Set([...Object.keys(one.tls), ...Object.keys(other.tls)]);
  // The casts are sound: the keys come from these very objects.
  const value = (of: AccessMaterial, key: string): unknown => (of.tls as Record<string, unknown>)[key];
  return one.proxy === other.proxy && [...keys].every((key) => same(value(one, key), value(other, key)));
}

function same(one: unknown, other: unknown): boolean {
  return Buffer.isBuffer(one) && Buffer.isBuffer(other) ? one.equals(other) : one === other;
}

/** Path below the server's own, which is not empty behind some proxies. */
function joined(url: URL, path: string): string {
  return `${url.origin}${url.pathname.replace(/\/$/, '')}${path}`;
}

function unreachable(url: URL, cause: Error | undefined): IdentityError {
  const code = cause !== undefined && 'code' in cause && typeof cause.code === 'string' ? cause.code : (cause?.message ?? '');
  return new IdentityError('unavailable', `cannot reach the API server at ${url.origin} (${code})`, { cause });
}
