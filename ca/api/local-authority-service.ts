import type { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { Authorities } from '../authorities/authorities.ts';
import type { AuthorityState } from '../authorities/authority.ts';
import type { AuthorityKind } from '../model.ts';

/** `spire.api.server.localauthority.v1.LocalAuthority`: the life of this replica's own authorities. */
export function localAuthorityService(authorities: Authorities): ServiceHandlers<typeof LocalAuthority, Peer> {
  const show = (kind: AuthorityKind) => () => {
    const { active, prepared, old } = authorities.states(kind);
    return { active: stateToProto(active), ...optional('prepared', prepared), ...optional('old', old) };
  };
  const prepare = (kind: AuthorityKind) => async () => ({ preparedAuthority: stateToProto(await authorities.prepare(kind)) });
  type Named = { readonly authorityId: string };
  const activate = (kind: AuthorityKind) => async (request: Named) => ({
    activatedAuthority: stateToProto(await authorities.activate(kind, request.authorityId)),
  });
  const taint = (kind: AuthorityKind) => async (request: Named) => ({
    taintedAuthority: stateToProto(await authorities.taint(kind, request.authorityId)),
  });
  const revoke = (kind: AuthorityKind) => async (request: Named) => ({
    revokedAuthority: stateToProto(await authorities.revoke(kind, request.authorityId)),
  });
  return {
    getX509AuthorityState: show('x509'),
    prepareX509Authority: prepare('x509'),
    activateX509Authority: activate('x509'),
    taintX509Authority: taint('x509'),
    revokeX509Authority: revoke('x509'),
    taintX509UpstreamAuthority: async ({ subjectKeyId }) => ({
      upstreamAuthoritySubjectKeyId: await authorities.taintUpstream(subjectKeyId),
    }),
    revokeX509UpstreamAuthority: async ({ subjectKeyId }) => ({
      upstreamAuthoritySubjectKeyId: await authorities.revokeUpstream(subjectKeyId),
    }),
    getJWTAuthorityState: show('jwt'),
    prepareJWTAuthority: prepare('jwt'),
    activateJWTAuthority: activate('jwt'),
    taintJWTAuthority: taint('jwt'),
    revokeJWTAuthority: revoke('jwt'),
    getWITAuthorityState: show('wit'),
    prepareWITAuthority: prepare('wit'),
    activateWITAuthority: activate('wit'),
    taintWITAuthority: taint('wit'),
    revokeWITAuthority: revoke('wit'),
  };
}

function optional<K extends string>(name: K, state: AuthorityState | undefined) {
  // The cast is sound: the one key of the object is K.
  return (state === undefined ? {} : { [name]: stateToProto(state) }) as { [P in K]?: ReturnType<typeof stateToProto> };
}

function stateToProto({ authorityId, expiresAtSeconds, upstreamSubjectKeyId }: AuthorityState) {
  return { authorityId, expiresAt: BigInt(expiresAtSeconds), upstreamAuthoritySubjectKeyId: upstreamSubjectKeyId };
}
