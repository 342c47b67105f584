import { IdentityError } from '../core/errors.ts';

/** Longest trust domain name in bytes (SPIFFE-ID §2.3). */
export const MAX_TRUST_DOMAIN_BYTES = 255;

const SCHEME = 'spiffe://';
// SPIFFE-ID §2.1: lower-case letters, digits, dots, dashes and underscores; so neither userinfo, port, IPv6 nor percent-encoding.
const NAME = /^[a-z0-9._-]+$/;

/**
 * The name of a trust domain, such as `example.org` (SPIFFE-ID §2.1). Made by {@link parseTrustDomain}; instances are shared, so
 * that 100,000 IDs of one trust domain hold one.
 */
export class TrustDomain {
  /** The name, such as `example.org`. */
  readonly name: string;
  /** The ID of the trust domain itself, such as `spiffe://example.org`. */
  readonly idString: string;

  private constructor(name: string) {
    this.name = name;
    this.idString = SCHEME + name;
  }

  /** The same as {@link parseTrustDomain}. */
  static parse(text: string, field = 'trust_domain'): TrustDomain {
    const name = text.startsWith(SCHEME) ? text.slice(SCHEME.length) : text;
    const shared = interned.get(name);
    if (shared !== undefined) return shared;
    checkName(name, field);
    const trustDomain = new TrustDomain(name);
    // Hostile callers name trust domains without end; equality goes by name, so forgetting them all is harmless.
    if (interned.size >= MAX_INTERNED) interned.clear();
    interned.set(name, trustDomain);
    return trustDomain;
  }

  /** Whether both name the same trust domain. */
  equals(other: TrustDomain): boolean {
    return this === other || this.name === other.name;
  }

  /** The name, such as `example.org`. */
  toString(): string {
    return this.name;
  }

  toJSON(): string {
    return this.name;
  }
}

const MAX_INTERNED = 4096;
const interned = new Map<string, TrustDomain>();

/**
 * Reads the name of a trust domain, written `example.org` or `spiffe://example.org`.
 *
 * @param field what the text is, for the error
 * @throws IdentityError `invalid_argument` when the text breaks a rule of SPIFFE-ID §2.1 or §2.3
 * @example
 * parseTrustDomain('example.org').idString; // 'spiffe://example.org'
 */
export function parseTrustDomain(text: string, field = 'trust_domain'): TrustDomain {
  return TrustDomain.parse(text, field);
}

function checkName(name: string, field: string): void {
  if (name === '') throw new IdentityError('invalid_argument', 'trust domain is missing', { field });
  if (name.length > MAX_TRUST_DOMAIN_BYTES) {
    throw new IdentityError('invalid_argument', `trust domain is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes`, { field });
  }
  if (!NAME.test(name)) {
    const message = 'trust domain may only have lower-case letters, digits, dots, dashes and underscores, such as example.org';
    throw new IdentityError('invalid_argument', message, { field });
  }
}
