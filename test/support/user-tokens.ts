// Tokens of users as an issuer outside would sign them, and as nobody should.
import { createHmac, sign } from 'node:crypto';
import { parseKeySet } from '../../policy/users/key-set.ts';
import type { IssuerKey, KeySource, TokenIssuer } from '../../policy/users/token-issuer.ts';
import { defaultJwsAlgorithm, encodeJwsSigningInput, isJwsAlgorithm, signJws } from '../../spiffe/jwt.ts';
import { createTestKey, type TestKey } from './test-keys.ts';

export const ISSUER = 'https://login.example.org';

/** An issuer of tokens, with one key. */
export class TestIssuer {
  readonly name: string;
  readonly key: TestKey;
  readonly keyId: string;

  constructor(options: { readonly name?: string; readonly key?: TestKey; readonly keyId?: string } = {}) {
    this.name = options.name ?? ISSUER;
    this.key = options.key ?? createTestKey();
    this.keyId = options.keyId ?? 'key-1';
  }

  /** As a RequestAuthentication names it. */
  accepted(changes: Partial<TokenIssuer> = {}): TokenIssuer {
    return { issuer: this.name, audiences: ['orders'], claims: {}, ...changes };
  }

  get jwk(): Record<string, unknown> {
    return { ...this.key.publicKey.export({ format: 'jwk' }), kid: this.keyId };
  }

  get keys(): readonly IssuerKey[] {
    return parseKeySet(JSON.stringify({ keys: [this.jwk] }));
  }

  /** A token; claims and header members that are `undefined` are left out. */
  sign(claims: Record<string, unknown>, header: Record<string, unknown> = {}, key = this.key): string {
    const alg = header['alg'] ?? (key.kind === 'Ed25519' ? 'EdDSA' : defaultJwsAlgorithm(key.privateKey));
    const full = { kid: this.keyId, typ: 'JWT', ...header, alg };
    if (isJwsAlgorithm(alg)) return signJws({ header: { ...full, alg }, payload: claims, key: key.privateKey });
    const signedPart = encodeJwsSigningInput(full, claims);
    if (alg === 'EdDSA') return `${signedPart}.${sign(null, Buffer.from(signedPart), key.privateKey).toString('base64url')}`;
    if (alg === 'none') return `${signedPart}.`;
    // The classic confusion: the public key, which everybody has, taken for a shared secret.
    const secret = key.publicKey.export({ type: 'spki', format: 'pem' });
    return `${signedPart}.${createHmac('sha256', secret).update(signedPart).digest('base64url')}`;
  }
}

/** Keys by issuer, as if they had been fetched. */
export function keysOf(...issuers: readonly TestIssuer[]): KeySource {
  return {
    keysOf: ({ issuer }) => Promise.resolve(issuers.filter(({ name }) => name === issuer).flatMap(({ keys }) => keys)),
  };
}
