/**
 * As what a caller may call a method: a process on the private socket, a configured or registered admin, an attested agent, a
 * registered downstream CA, or anyone at all.
 */
export type Role = 'local' | 'admin' | 'agent' | 'downstream' | 'anyone';

const ADMINS: readonly Role[] = ['local', 'admin'];
const LOCAL: readonly Role[] = ['local'];
const AGENT: readonly Role[] = ['agent'];
const DOWNSTREAM: readonly Role[] = ['downstream'];
const ANYONE: readonly Role[] = ['anyone'];

type Rows = Readonly<Record<string, readonly Role[]>>;

const svid: Rows = {
  MintX509SVID: ADMINS,
  MintJWTSVID: ADMINS,
  MintWITSVID: ADMINS,
  BatchNewX509SVID: AGENT,
  NewJWTSVID: AGENT,
  BatchNewWITSVID: AGENT,
  NewDownstreamX509CA: DOWNSTREAM,
};

const bundle: Rows = {
  GetBundle: ANYONE,
  AppendBundle: ADMINS,
  PublishJWTAuthority: DOWNSTREAM,
  PublishWITAuthority: DOWNSTREAM,
  CountBundles: ADMINS,
  ListFederatedBundles: ADMINS,
  GetFederatedBundle: ['local', 'admin', 'agent'],
  BatchCreateFederatedBundle: ADMINS,
  BatchUpdateFederatedBundle: ADMINS,
  BatchSetFederatedBundle: ADMINS,
  BatchDeleteFederatedBundle: ADMINS,
};

const entry: Rows = {
  CountEntries: ADMINS,
  ListEntries: ADMINS,
  GetEntry: ADMINS,
  BatchCreateEntry: ADMINS,
  BatchUpdateEntry: ADMINS,
  BatchDeleteEntry: ADMINS,
  GetAuthorizedEntries: AGENT,
  SyncAuthorizedEntries: AGENT,
};

const agent: Rows = {
  CountAgents: ADMINS,
  ListAgents: ADMINS,
  GetAgent: ADMINS,
  DeleteAgent: ADMINS,
  BanAgent: ADMINS,
  AttestAgent: ANYONE,
  RenewAgent: AGENT,
  PostStatus: AGENT,
  CreateJoinToken: ADMINS,
};

const trustDomain: Rows = {
  ListFederationRelationships: ADMINS,
  GetFederationRelationship: ADMINS,
  BatchCreateFederationRelationship: ADMINS,
  BatchUpdateFederationRelationship: ADMINS,
  BatchDeleteFederationRelationship: ADMINS,
  RefreshBundle: ADMINS,
};

const localAuthority: Rows = {
  GetJWTAuthorityState: ADMINS,
  PrepareJWTAuthority: ADMINS,
  ActivateJWTAuthority: ADMINS,
  TaintJWTAuthority: ADMINS,
  RevokeJWTAuthority: ADMINS,
  GetX509AuthorityState: ADMINS,
  PrepareX509Authority: ADMINS,
  ActivateX509Authority: ADMINS,
  TaintX509Authority: ADMINS,
  TaintX509UpstreamAuthority: ADMINS,
  RevokeX509Authority: ADMINS,
  RevokeX509UpstreamAuthority: ADMINS,
  GetWITAuthorityState: ADMINS,
  PrepareWITAuthority: ADMINS,
  ActivateWITAuthority: ADMINS,
  TaintWITAuthority: ADMINS,
  RevokeWITAuthority: ADMINS,
};

const services: Readonly<Record<string, Rows>> = {
  'spire.api.server.svid.v1.SVID': svid,
  'spire.api.server.bundle.v1.Bundle': bundle,
  'spire.api.server.entry.v1.Entry': entry,
  'spire.api.server.agent.v1.Agent': agent,
  'spire.api.server.trustdomain.v1.TrustDomain': trustDomain,
  'spire.api.server.localauthority.v1.LocalAuthority': localAuthority,
  'spire.api.server.debug.v1.Debug': { GetInfo: LOCAL },
  'spire.api.server.logger.v1.Logger': { GetLogger: LOCAL, SetLogLevel: LOCAL, ResetLogLevel: LOCAL },
  'grpc.health.v1.Health': { Check: LOCAL, List: LOCAL, Watch: LOCAL },
  'grpc.reflection.v1.ServerReflection': { ServerReflectionInfo: LOCAL },
  'grpc.reflection.v1alpha.ServerReflection': { ServerReflectionInfo: LOCAL },
  'countersign.node.v1.Node': { Watch: AGENT },
  'countersign.admin.v1.Inspection': { GetStatus: ADMINS },
};

/** Who may call what, by full method name: SPIRE's policy, and ours for what is our own. A method without a row is denied to all. */
export const ACCESS_TABLE: ReadonlyMap<string, ReadonlySet<Role>> = new Map(
  Object.entries(services).flatMap(([service, rows]) =>
    Object.entries(rows).map(([method, roles]) => [`/${service}/${method}`, new Set(roles)] as const),
  ),
);
