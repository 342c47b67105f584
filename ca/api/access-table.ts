/**
 * As what a caller may call a method: a process on the private socket, a configured, registered or logged-in admin, a
 * controller that logged in, an attested agent, a registered downstream CA, or anyone at all.
 */
export type Role = 'local' | 'admin' | 'controller' | 'agent' | 'downstream' | 'anyone';

const ADMINS: readonly Role[] = ['local', 'admin'];
const CONTROLLERS: readonly Role[] = ['local', 'admin', 'controller'];
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
  // Not for controllers: an authority of the own trust domain can sign for any ID.
  AppendBundle: ADMINS,
  PublishJWTAuthority: DOWNSTREAM,
  PublishWITAuthority: DOWNSTREAM,
  CountBundles: CONTROLLERS,
  ListFederatedBundles: CONTROLLERS,
  GetFederatedBundle: ['local', 'admin', 'controller', 'agent'],
  BatchCreateFederatedBundle: CONTROLLERS,
  BatchUpdateFederatedBundle: CONTROLLERS,
  BatchSetFederatedBundle: CONTROLLERS,
  BatchDeleteFederatedBundle: CONTROLLERS,
};

const entry: Rows = {
  CountEntries: CONTROLLERS,
  ListEntries: CONTROLLERS,
  GetEntry: CONTROLLERS,
  BatchCreateEntry: CONTROLLERS,
  BatchUpdateEntry: CONTROLLERS,
  BatchDeleteEntry: CONTROLLERS,
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
  ListFederationRelationships: CONTROLLERS,
  GetFederationRelationship: CONTROLLERS,
  BatchCreateFederationRelationship: CONTROLLERS,
  BatchUpdateFederationRelationship: CONTROLLERS,
  BatchDeleteFederationRelationship: CONTROLLERS,
  RefreshBundle: CONTROLLERS,
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

const policies: Rows = {
  SetResources: CONTROLLERS,
  DeleteResources: CONTROLLERS,
  ListResources: CONTROLLERS,
  WatchStatus: CONTROLLERS,
  Simulate: CONTROLLERS,
  ListCalls: CONTROLLERS,
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
  'countersign.policy.v1.Policies': policies,
  'countersign.policy.v1.Recording': { ReportCalls: AGENT },
  'countersign.admin.v1.Admin': { Login: ANYONE, SignPublicKey: CONTROLLERS, WatchBundle: CONTROLLERS },
  'countersign.admin.v1.Inspection': { GetStatus: ADMINS },
  'countersign.admin.v1.Trust': { ListAuthorities: ADMINS, RemoveAppendedAuthorities: ADMINS },
};

/** Who may call what, by full method name: SPIRE's policy, and ours for what is our own. A method without a row is denied to all. */
export const ACCESS_TABLE: ReadonlyMap<string, ReadonlySet<Role>> = new Map(
  Object.entries(services).flatMap(([service, rows]) =>
    Object.entries(rows).map(([method, roles]) => [`/${service}/${method}`, new Set(roles)] as const),
  ),
);
