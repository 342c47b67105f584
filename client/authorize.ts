import { IdentityError } from '../core/errors.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../spiffe/trust-domain.ts';

/** Decides whether a peer whose SPIFFE ID was proven may connect; throws to refuse it. */
export type Authorizer = (id: SpiffeId) => void;

/** Accepts exactly these peers. @throws IdentityError `invalid_argument` when one is no SPIFFE ID */
export function authorizeId(...ids: readonly (string | SpiffeId)[]): Authorizer {
  const allowed = new Set(ids.map((id) => (typeof id === 'string' ? parseSpiffeId(id) : id).toString()));
  return (id) => {
    if (!allowed.has(id.toString()))
      throw new IdentityError('permission_denied', `peer ${id.toString()} is none of: ${[...allowed].join(', ')}`);
  };
}

/** Accepts every peer of a trust domain. @throws IdentityError `invalid_argument` */
export function authorizeMemberOf(trustDomain: string): Authorizer {
  const expected = parseTrustDomain(trustDomain);
  return (id) => {
    if (!id.isMemberOf(expected))
      throw new IdentityError('permission_denied', `peer ${id.toString()} is no member of ${expected.name}`);
  };
}

/** Accepts every peer whose SVID verifies against one of the bundles, federated ones included. */
export function authorizeAny(): Authorizer {
  return () => {};
}
