import { IdentityError } from '../../core/errors.ts';
import type {
  RemoveAppendedAuthoritiesRequest,
  RemoveAppendedAuthoritiesRequest_Name,
  Trust,
} from '../../proto/gen/countersign/admin/v1/trust_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import { BUNDLE_KINDS } from '../authorities/authority.ts';
import type { Authority } from '../model.ts';
import { commit, type ApiContext } from './api-context.ts';

/** `countersign.admin.v1.Trust`: where the bundle's authorities come from, and the end of those that were appended to it. */
export function trustService(context: ApiContext): ServiceHandlers<typeof Trust, Peer> {
  return {
    listAuthorities: () => ({ authorities: context.registry.authorities.filter(isInBundle).map(authorityToProto) }),
    removeAppendedAuthorities: (request) => removeAppended(context, request),
  };
}

function isInBundle({ kind }: Authority): boolean {
  return BUNDLE_KINDS.some((each) => each === kind);
}

function authorityToProto({ kind, id, publicBytes, expiresAtSeconds, tainted, replicaId }: Authority) {
  return { kind, id, publicBytes, expiresAt: BigInt(expiresAtSeconds), tainted, appended: replicaId === '' };
}

async function removeAppended(context: ApiContext, request: RemoveAppendedAuthoritiesRequest): Promise<Record<string, never>> {
  const authorities = request.authorities.map((name) => appendedAuthority(context, name));
  if (authorities.length === 0) throw new IdentityError('invalid_argument', 'no authorities to remove');
  await commit(context, async (tx) => {
    for (const { kind, id } of authorities) await tx.deleteAuthority(kind, id);
  });
  const removed = authorities.map(({ kind, id }) => ({ kind, id }));
  context.log.warn({ removed }, 'appended authorities removed from the bundle');
  return {};
}

function appendedAuthority({ registry }: ApiContext, { kind, id }: RemoveAppendedAuthoritiesRequest_Name): Authority {
  const known = BUNDLE_KINDS.find((each) => each === kind);
  if (known === undefined) throw new IdentityError('invalid_argument', `"${kind}" is no kind of authority`, { field: 'kind' });
  const authority = registry.authority(known, id);
  if (authority === undefined) throw new IdentityError('not_found', `the bundle has no ${kind} authority ${id}`);
  if (authority.replicaId !== '') {
    throw new IdentityError('failed_precondition', `the ${kind} authority ${id} is one of this CA: taint and revoke it instead`);
  }
  return authority;
}
