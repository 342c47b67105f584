import { IdentityError } from '../../core/errors.ts';
import { isReservedPath, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';

const AGENT_PATH = '/spire/agent/';
/** Below this lie the IDs of those who logged in; no entry can have one, since `/spire` is reserved. */
export const LOGIN_PATH = '/spire/admin/';

/** @throws IdentityError `invalid_argument` unless a workload of this trust domain may have the ID: `/spire` is reserved */
export function requireWorkloadId(id: SpiffeId, trustDomain: TrustDomain, field = 'spiffe_id'): void {
  requireMember(id, trustDomain, field);
  if (isReservedPath(id)) {
    throw new IdentityError(
      'invalid_argument',
      `"${id.toString()}" is not for workloads: /spire is reserved for the CA and its agents`,
      { field },
    );
  }
}

/** @throws IdentityError `invalid_argument` unless an agent of this trust domain may have the ID */
export function requireAgentId(id: SpiffeId, trustDomain: TrustDomain, field = 'spiffe_id'): void {
  requireMember(id, trustDomain, field);
  if (!id.path.startsWith(AGENT_PATH)) {
    throw new IdentityError('invalid_argument', `"${id.toString()}" is no agent's: it must lie below ${AGENT_PATH}`, { field });
  }
}

/** @throws IdentityError `invalid_argument` unless somebody who logged in to this trust domain may have the ID */
export function requireLoginId(id: SpiffeId, trustDomain: TrustDomain, field = 'spiffe_id'): void {
  requireMember(id, trustDomain, field);
  if (id.path.startsWith(LOGIN_PATH)) return;
  throw new IdentityError('invalid_argument', `"${id.toString()}" is no admin's: it must lie below ${LOGIN_PATH}`, { field });
}

function requireMember(id: SpiffeId, trustDomain: TrustDomain, field: string): void {
  if (id.isMemberOf(trustDomain) && id.path !== '') return;
  const why = id.path === '' ? 'path is empty' : `it is not of the trust domain "${trustDomain.name}"`;
  throw new IdentityError('invalid_argument', `"${id.toString()}" cannot be given here: ${why}`, { field });
}
