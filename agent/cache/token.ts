import type { Lifetime } from '../../runtime/lifetime.ts';

/** A token that the CA signed, as the cache keeps it. */
export interface CachedToken {
  readonly token: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly lifetime: Lifetime;
  /** The `kid`: the authority that signed it. */
  readonly keyId: string;
}

/** The `kid` in the header of a token of our own CA; empty when there is none. */
export function keyIdOf(token: string): string {
  try {
    const header: unknown = JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString('utf8'));
    if (typeof header === 'object' && header !== null && 'kid' in header && typeof header.kid === 'string') return header.kid;
  } catch {
    // No header of this form; the token is of no use to anybody, and the next check of its authority will not find it.
  }
  return '';
}
