import type { KeyObject } from 'node:crypto';

/** Whose tokens are accepted, as a RequestAuthentication names it. */
export interface TokenIssuer {
  /** Exactly as its tokens name it (`iss`). */
  readonly issuer: string;
  /** Where its keys are. Without it: what its discovery document says. */
  readonly jwksUri?: string | undefined;
  /** A token must be for one of these (`aud`). */
  readonly audiences: readonly string[];
  /** Where this issuer keeps what policies ask for, such as `roles` → `realm_access.roles`. */
  readonly claims: Readonly<Record<string, string>>;
}

/** A key that an issuer signs tokens with. */
export interface IssuerKey {
  /** Its `kid`, where it has one. */
  readonly keyId: string | undefined;
  /** The only algorithm that it is for (`alg`), where it says so. */
  readonly algorithm: string | undefined;
  readonly publicKey: KeyObject;
}

/** Where the keys of issuers come from; the adapter is `runtime/oidc`. */
export interface KeySource {
  /**
   * The keys of an issuer. When none of those at hand has the key ID, the source may ask the issuer again, as often as it
   * thinks fit: a token of a made-up key ID must not cause a request each time.
   *
   * @throws IdentityError `unavailable` when the issuer's keys are not to be had
   */
  keysOf(issuer: Pick<TokenIssuer, 'issuer' | 'jwksUri'>, keyId: string | undefined): Promise<readonly IssuerKey[]>;
}
