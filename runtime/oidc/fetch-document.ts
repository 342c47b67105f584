import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { Clock } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { guardedLookup, refuseForbiddenHost } from '../address-guard.ts';

/** What fetching from an issuer depends on. */
export interface FetchOptions {
  readonly clock: Clock;
  /** Hosts that may have a private, link-local or loopback address. */
  readonly allowPrivateHosts: readonly string[];
  /** PEM roots of the issuers' certificates; the system's own unless given. */
  readonly rootsPem?: readonly string[] | undefined;
  readonly signal: AbortSignal;
}

/** A document as an issuer serves it. */
export interface FetchedDocument {
  readonly body: Buffer;
  /** How long it may be kept (`Cache-Control: max-age`); undefined where the issuer says nothing. */
  readonly maxAgeMs: number | undefined;
}

const MAX_DOCUMENT_BYTES = 512 * 1024;
const TIMEOUT_MS = 10_000;

/**
 * Fetches a document over https. Redirects are refused: neither discovery nor key sets need them, and each would be another
 * address to guard.
 *
 * @throws IdentityError `unavailable` (not reached, no status 200, too slow), `invalid_argument` (no https URL, more than 512 KiB),
 *   `permission_denied` (the address must not be called), `not_found` (status 404)
 */
export async function fetchDocument(text: string, options: FetchOptions): Promise<FetchedDocument> {
  const url = parseHttpsUrl(text);
  refuseForbiddenHost(url, options.allowPrivateHosts);
  try {
    return await exchange(url, options);
  } catch (error) {
    if (isIdentityError(error)) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new IdentityError('unavailable', `cannot fetch ${url.href} (${why})`, { cause: error });
  }
}

function parseHttpsUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' && url.username === '' && url.password === '') return url;
  throw new IdentityError('invalid_argument', 'an issuer and its keys are at https:// URLs without user information');
}

async function exchange(url: URL, { clock, allowPrivateHosts, rootsPem, signal }: FetchOptions): Promise<FetchedDocument> {
  const controller = new AbortController();
  const timer = clock.setTimer(TIMEOUT_MS, () => controller.abort(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)));
  try {
    const limits = AbortSignal.any([controller.signal, signal]);
    return await new Promise((resolve, reject) => {
      // An abort after the head came shows as an error of the response: the reason is told from here.
      limits.addEventListener('abort', () => reject(limits.reason), { once: true });
      request(url, {
        agent: false,
        minVersion: 'TLSv1.2',
        headers: { accept: 'application/json', 'user-agent': 'countersign' },
        lookup: guardedLookup(allowPrivateHosts),
        signal: limits,
        ...(rootsPem === undefined || rootsPem.length === 0 ? {} : { ca: [...rootsPem] }),
      })
        .once('error', reject)
        .once('response', (response) => void readAnswer(response).then(resolve, reject))
        .end();
    });
  } finally {
    timer.cancel();
  }
}

async function readAnswer(response: IncomingMessage): Promise<FetchedDocument> {
  const { statusCode = 0, headers } = response;
  if (statusCode !== 200) {
    response.destroy();
    throw new IdentityError(
      statusCode === 404 ? 'not_found' : 'unavailable',
      `the issuer answered with HTTP status ${statusCode}`,
    );
  }
  if (headers['content-encoding'] !== undefined) {
    response.destroy();
    throw new IdentityError('invalid_argument', 'the issuer compressed its answer, which was not asked for');
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    // The cast is sound: no encoding was set, so chunks are buffers.
    const piece = chunk as Buffer;
    bytes += piece.length;
    if (bytes > MAX_DOCUMENT_BYTES) {
      throw new IdentityError('invalid_argument', `the issuer's answer is larger than ${MAX_DOCUMENT_BYTES} bytes`);
    }
    chunks.push(piece);
  }
  return { body: Buffer.concat(chunks), maxAgeMs: maxAgeOf(headers['cache-control']) };
}

/** RFC 9111 §5.2.2.1; `no-store` and `no-cache` are as good as 0. */
function maxAgeOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (/\bno-(?:store|cache)\b/i.test(header)) return 0;
  const [, seconds] = /\bmax-age=(\d{1,9})\b/i.exec(header) ?? [];
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}
