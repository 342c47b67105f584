import type { KeySource } from '../../policy/users/token-issuer.ts';
import type { AuthorizationSettings } from './policy-update.ts';

/**
 * The keys of the CA's own exchange as the CA delivered them, which needs no request and is current at once; those of other
 * issuers from where they are fetched. So are the exchange's where a RequestAuthentication says that they are elsewhere.
 */
export function preferDeliveredKeys(
  { exchangeIssuer, exchangeJwksUri, exchangeKeys }: AuthorizationSettings,
  others: KeySource,
): KeySource {
  if (exchangeIssuer === undefined || exchangeKeys === undefined) return others;
  return {
    keysOf: (named, keyId) => {
      const isDelivered = named.issuer === exchangeIssuer && (named.jwksUri ?? exchangeJwksUri) === exchangeJwksUri;
      return isDelivered ? Promise.resolve(exchangeKeys) : others.keysOf(named, keyId);
    },
  };
}
