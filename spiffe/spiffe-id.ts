import { IdentityError } from '../core/errors.ts';
import { parseTrustDomain } from './trust-domain.ts';
import type { TrustDomain } from './trust-domain.ts';

/** Longest SPIFFE ID in bytes (SPIFFE-ID §2.3). */
export const MAX_SPIFFE_ID_BYTES = 2048;

const SCHEME = 'spiffe://';
// SPIFFE-ID §2.2: each segment has one or more of these; `.` and `..` are looked for apart, and only in paths that have a dot after a slash.
const PATH = /^(?:\/[A-Za-z0-9._-]+)*$/;
const DOT_SEGMENT = /\/\.{1,2}(?:\/|$)/;

/** A SPIFFE ID, such as `spiffe://example.org/payments/web` (SPIFFE-ID §2). Made by {@link parseSpiffeId} and {@link createSpiffeId}. */
export class SpiffeId {
  readonly trustDomain: TrustDomain;
  /** Empty for the trust domain itself, else begins with a slash, such as `/payments/web`. */
  readonly path: string;
  readonly #text: string;

  private constructor(trustDomain: TrustDomain, path: string, text: string) {
    this.trustDomain = trustDomain;
    this.path = path;
    this.#text = text;
  }

  /** The same as {@link parseSpiffeId}. */
  static parse(text: string, field: string): SpiffeId {
    if (!text.startsWith(SCHEME)) {
      throw new IdentityError('invalid_argument', text === '' ? 'SPIFFE ID is missing' : 'scheme must be spiffe://', { field });
    }
    checkLength(text, field);
    const slash = text.indexOf('/', SCHEME.length);
    const end = slash === -1 ? text.length : slash;
    const trustDomain = parseTrustDomain(text.slice(SCHEME.length, end), field);
    const path = text.slice(end);
    checkPath(path, field);
    return new SpiffeId(trustDomain, path, text);
  }

  /** The same as {@link createSpiffeId}. */
  static create(trustDomain: TrustDomain, path: string, field: string): SpiffeId {
    checkPath(path, field);
    const text = trustDomain.idString + path;
    checkLength(text, field);
    return new SpiffeId(trustDomain, path, text);
  }

  /** Whether this ID belongs to the trust domain. */
  isMemberOf(trustDomain: TrustDomain): boolean {
    return this.trustDomain.equals(trustDomain);
  }

  /** Whether both are the same ID; paths are case-sensitive (SPIFFE-ID §2.4). */
  equals(other: SpiffeId): boolean {
    return this === other || this.#text === other.#text;
  }

  /** The ID as text, such as `spiffe://example.org/payments/web`. */
  toString(): string {
    return this.#text;
  }

  toJSON(): string {
    return this.#text;
  }
}

/**
 * Reads a SPIFFE ID.
 *
 * @param field what the text is, for the error
 * @throws IdentityError `invalid_argument` when the text breaks a rule of SPIFFE-ID §2; the text itself is never in the message
 * @example
 * parseSpiffeId('spiffe://example.org/payments/web').path; // '/payments/web'
 */
export function parseSpiffeId(text: string, field = 'spiffe_id'): SpiffeId {
  return SpiffeId.parse(text, field);
}

/**
 * Makes a SPIFFE ID from a trust domain and a path, or the path's segments.
 *
 * @param path such as `/payments/web` or `['payments', 'web']`; empty for the trust domain itself
 * @throws IdentityError `invalid_argument` when the path breaks a rule of SPIFFE-ID §2.2 or the ID would be too long
 * @example
 * createSpiffeId(trustDomain, ['payments', 'web']);
 */
export function createSpiffeId(trustDomain: TrustDomain, path: string | readonly string[], field = 'path'): SpiffeId {
  if (typeof path === 'string') return SpiffeId.create(trustDomain, path, field);
  const slash = path.find((segment) => segment.includes('/'));
  if (slash !== undefined) throw new IdentityError('invalid_argument', 'a path segment must not hold a slash', { field });
  return SpiffeId.create(trustDomain, path.map((segment) => `/${segment}`).join(''), field);
}

/** Whether the ID lies at or below `/spire`, which is reserved for the CA and its agents: no workload may be given it. */
export function isReservedPath(id: SpiffeId): boolean {
  return id.path === '/spire' || id.path.startsWith('/spire/');
}

function checkLength(text: string, field: string): void {
  // Every character that passes the other checks is one byte, so characters may be counted.
  if (text.length <= MAX_SPIFFE_ID_BYTES) return;
  throw new IdentityError('invalid_argument', `SPIFFE ID is longer than ${MAX_SPIFFE_ID_BYTES} bytes`, { field });
}

function checkPath(path: string, field: string): void {
  if (PATH.test(path) && !(path.includes('/.') && DOT_SEGMENT.test(path))) return;
  throw new IdentityError('invalid_argument', pathFault(path), { field });
}

function pathFault(path: string): string {
  if (!path.startsWith('/')) return 'path must begin with a slash';
  if (path.includes('//')) return 'path must not hold an empty segment';
  if (path.endsWith('/')) return 'path must not end with a slash';
  if (DOT_SEGMENT.test(path)) return 'path must not hold the segments "." or ".."';
  return 'path may only have letters, digits, dots, dashes and underscores; no percent-encoding, query or fragment';
}
