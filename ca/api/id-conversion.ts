import { IdentityError } from '../../core/errors.ts';
import type { SPIFFEID } from '../../proto/gen/spire/api/types/spiffeid_pb.ts';
import { createSpiffeId, isReservedPath, parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain, type TrustDomain } from '../../spiffe/trust-domain.ts';

/** What a SPIFFE ID in a request must be: any below the trust domain, one of an agent, or one that a workload may have. */
export type IdRole = 'member' | 'agent' | 'workload';

/**
 * Reads the name of a trust domain. As in SPIRE it may also be written as any SPIFFE ID of that trust domain.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function trustDomainFromProto(text: string, field = 'trust_domain'): TrustDomain {
  return text.startsWith('spiffe://') ? parseSpiffeId(text, field).trustDomain : parseTrustDomain(text, field);
}

/** Reads a SPIFFE ID of any trust domain. @throws IdentityError `invalid_argument`, naming `field` */
export function idFromProto(proto: SPIFFEID | undefined, field: string): SpiffeId {
  if (proto === undefined) throw new IdentityError('invalid_argument', 'request must specify a SPIFFE ID', { field });
  return createSpiffeId(trustDomainFromProto(proto.trustDomain, `${field}.trust_domain`), proto.path, `${field}.path`);
}

/** Reads a SPIFFE ID of this trust domain in the given role. @throws IdentityError `invalid_argument`, naming `field` */
export function ownIdFromProto(proto: SPIFFEID | undefined, own: TrustDomain, role: IdRole, field: string): SpiffeId {
  const id = idFromProto(proto, field);
  checkRole(id, own, role, field);
  return id;
}

/** @throws IdentityError `invalid_argument`, naming `field`, when the ID cannot have the role in this trust domain */
export function checkRole(id: SpiffeId, own: TrustDomain, role: IdRole, field: string): void {
  const fault = roleFault(id, own, role);
  if (fault !== undefined) throw new IdentityError('invalid_argument', fault, { field });
}

function roleFault(id: SpiffeId, own: TrustDomain, role: IdRole): string | undefined {
  if (!id.isMemberOf(own)) return `"${id.toString()}" is not a member of trust domain "${own.name}"`;
  const what = role === 'member' ? 'a member of' : role === 'agent' ? 'an agent in' : 'a workload in';
  if (id.path === '') return `"${id.toString()}" is not ${what} trust domain "${own.name}"; path is empty`;
  if (role === 'agent' && !isAgentPath(id))
    return `"${id.toString()}" is not an agent in trust domain "${own.name}"; path is not in the agent namespace`;
  if (role === 'workload' && isReservedPath(id))
    return `"${id.toString()}" is not a workload in trust domain "${own.name}"; path is in the reserved namespace`;
  return undefined;
}

/** Whether the ID lies below `/spire/agent/`, where node attestors put agents. */
export function isAgentPath(id: SpiffeId): boolean {
  return id.path.startsWith('/spire/agent/');
}

/** A SPIFFE ID as the fields of its message. */
export function idToProto(id: SpiffeId): { trustDomain: string; path: string } {
  return { trustDomain: id.trustDomain.name, path: id.path };
}
