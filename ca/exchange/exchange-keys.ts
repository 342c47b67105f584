import type { IssuerKey, KeySource } from '../../policy/users/token-issuer.ts';
import { formatJwk } from '../../spiffe/jwk.ts';
import { defaultJwsAlgorithm } from '../../spiffe/jwt.ts';
import { parsePublicKey } from '../../spiffe/public-key.ts';
import type { Authority } from '../model.ts';

/** Where the authorities of all replicas are; the registry. */
export interface PublishedAuthorities {
  readonly authorities: readonly Authority[];
}

const keys = new WeakMap<Authority, IssuerKey>();

/** The keys of the exchange's own tokens, of all replicas; tainted ones are no longer to be relied on. */
export function exchangeKeys({ authorities }: PublishedAuthorities): readonly IssuerKey[] {
  return authorities.filter(({ kind, tainted }) => kind === 'exchange' && !tainted).map(keyOf);
}

function keyOf(authority: Authority): IssuerKey {
  let key = keys.get(authority);
  if (key === undefined) {
    const publicKey = parsePublicKey(authority.publicBytes).keyObject();
    key = { keyId: authority.id, algorithm: defaultJwsAlgorithm(publicKey), publicKey };
    keys.set(authority, key);
  }
  return key;
}

/** The JWK set of the exchange (RFC 7517 §5). It is not the SPIFFE bundle, and shares no key with it. */
export function exchangeJwks(published: PublishedAuthorities): string {
  const members = exchangeKeys(published).map(({ keyId, algorithm, publicKey }) => ({
    ...formatJwk(publicKey),
    kid: keyId,
    use: 'sig',
    alg: algorithm,
  }));
  return JSON.stringify({ keys: members });
}

/** The keys of the own issuer from the registry, those of others from where they are fetched. */
export function subjectKeys(issuer: string, published: PublishedAuthorities, others: KeySource): KeySource {
  return {
    keysOf: (named, keyId) => (named.issuer === issuer ? Promise.resolve(exchangeKeys(published)) : others.keysOf(named, keyId)),
  };
}
