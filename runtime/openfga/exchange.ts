import * as http from 'node:http';
import * as https from 'node:https';
import type { Clock } from '../../core/clock.ts';
import { IdentityError, isIdentityError, type ErrorCode } from '../../core/errors.ts';
import { readSecret } from '../secret-file.ts';

/** Where the store is, and what proves us to it. */
export interface ExchangeOptions {
  readonly url: URL;
  /** Holds a bearer token. */
  readonly tokenFile?: string | undefined;
  /** PEM roots of the store's certificate; the system's own unless given. */
  readonly rootsPem?: string | undefined;
  readonly clock: Clock;
}

/** What the store answered: JSON, and whether it knows what was asked for at all. */
export type Answer = { readonly kind: 'answer'; readonly value: unknown } | { readonly kind: 'unknown_endpoint' };

const MAX_CONNECTIONS = 32;
const IDLE_MS = 30_000;
const TOKEN_AGE_MS = 60_000;
/** Fifty answers with an error text each are far smaller. */
const MAX_ANSWER_BYTES = 256 * 1024;

/** Asks a store that speaks OpenFGA's HTTP API, over kept connections. */
export class OpenFgaExchange implements Disposable {
  readonly #options: ExchangeOptions;
  readonly #agent: http.Agent;
  #token: { readonly text: string; readonly readAtMs: number } | undefined;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    const kept = { keepAlive: true, maxSockets: MAX_CONNECTIONS, timeout: IDLE_MS, scheduling: 'lifo' as const };
    const { rootsPem: ca } = options;
    this.#agent =
      options.url.protocol === 'http:'
        ? new http.Agent(kept)
        : new https.Agent({ ...kept, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) });
  }

  /**
   * Posts JSON to a path below the store's URL. An error names neither what was asked nor what the store said of it: both name users.
   *
   * @throws IdentityError `unavailable`, `failed_precondition` (the store refuses the question), `permission_denied`, `not_found`,
   *   `resource_exhausted`, `invalid_argument` (an answer that cannot be read); the signal's reason when it aborted
   */
  async post(path: string, body: unknown, signal: AbortSignal): Promise<Answer> {
    const text = JSON.stringify(body);
    const authorization = await this.#authorization();
    const first = await this.#once(path, { text, authorization, signal });
    if ('response' in first) return read(first.response, signal);
    // A kept connection may have been closed by the other side just now; a question can be asked twice.
    const second = first.isReused && !signal.aborted ? await this.#once(path, { text, authorization, signal }) : first;
    if ('response' in second) return read(second.response, signal);
    throw signal.aborted ? signal.reason : unreachable(this.#options.url, second.error);
  }

  /** Closes the connections. */
  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #once(
    path: string,
    {
      text,
      authorization,
      signal,
    }: { readonly text: string; readonly authorization: string | undefined; readonly signal: AbortSignal },
  ): Promise<{ readonly response: http.IncomingMessage } | { readonly error: Error; readonly isReused: boolean }> {
    const { url } = this.#options;
    const send = url.protocol === 'http:' ? http.request : https.request;
    const request = send(new URL(url.pathname.replace(/\/$/, '') + path, url), {
      method: 'POST',
      agent: this.#agent,
      signal,
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        accept: 'application/json',
        'user-agent': 'countersign',
        ...(authorization === undefined ? {} : { authorization }),
      },
    });
    return new Promise((resolve) => {
      request.once('response', (response) => resolve({ response }));
      request.on('error', (error) => resolve({ error, isReused: request.reusedSocket }));
      request.end(text);
    });
  }

  async #authorization(): Promise<string | undefined> {
    const { tokenFile, clock } = this.#options;
    if (tokenFile === undefined) return undefined;
    const nowMs = clock.monotonicMs();
    if (this.#token === undefined || nowMs - this.#token.readAtMs > TOKEN_AGE_MS) {
      this.#token = { text: (await readSecret(tokenFile, "relation store's token")).trim(), readAtMs: nowMs };
    }
    return `Bearer ${this.#token.text}`;
  }
}

async function read(response: http.IncomingMessage, signal: AbortSignal): Promise<Answer> {
  try {
    const { statusCode = 0 } = response;
    const value = parse(await bodyOf(response));
    if (statusCode === 200) return { kind: 'answer', value };
    const code = errorCodeIn(value);
    if (statusCode === 404 && (code === 'undefined_endpoint' || code === undefined)) return { kind: 'unknown_endpoint' };
    throw new IdentityError(
      CODES[statusCode] ?? 'unavailable',
      `the relation store answered with HTTP status ${statusCode} (${code ?? 'no code'})`,
    );
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (isIdentityError(error)) throw error;
    throw new IdentityError('unavailable', 'the relation store broke off its answer', { cause: error });
  }
}

const CODES: Readonly<Partial<Record<number, ErrorCode>>> = {
  400: 'failed_precondition',
  401: 'permission_denied',
  403: 'permission_denied',
  404: 'not_found',
  429: 'resource_exhausted',
};

async function bodyOf(response: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    // The cast is sound: no encoding was set, so chunks are buffers.
    const piece = chunk as Buffer;
    bytes += piece.length;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new IdentityError('invalid_argument', `the relation store's answer is larger than ${MAX_ANSWER_BYTES} bytes`);
    }
    chunks.push(piece);
  }
  return Buffer.concat(chunks);
}

/** @returns undefined for what is no JSON, such as a proxy's error page */
function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

/** The store's own word for what went wrong; its message would repeat the question. */
function errorCodeIn(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || !('code' in value)) return undefined;
  const { code } = value;
  return typeof code === 'string' && /^[a-z_]{1,64}$/.test(code) ? code : undefined;
}

function unreachable(url: URL, cause: Error): IdentityError {
  return new IdentityError('unavailable', `cannot reach the relation store at ${url.origin} (${cause.message})`, { cause });
}
