import type { JsonMessage } from '../../support/spire-client.ts';
import type { Probe } from './probe.ts';
import type { CallerName } from './world.ts';

const callers: readonly CallerName[] = ['local', 'anonymous', 'workload', 'agent', 'admin', 'downstream', 'banned'];

/** Requests that change nothing and show who may call: an empty message is refused by whoever lets the caller in. */
const access: Readonly<Record<string, JsonMessage>> = {
  'agent.v1.Agent/CountAgents': {},
  'agent.v1.Agent/ListAgents': { pageSize: 1, outputMask: {} },
  'agent.v1.Agent/GetAgent': {},
  'agent.v1.Agent/DeleteAgent': {},
  'agent.v1.Agent/BanAgent': {},
  'agent.v1.Agent/AttestAgent': {},
  'agent.v1.Agent/RenewAgent': {},
  'agent.v1.Agent/CreateJoinToken': {},
  'agent.v1.Agent/PostStatus': {},
  'entry.v1.Entry/CountEntries': {},
  'entry.v1.Entry/ListEntries': { pageSize: 1, outputMask: {} },
  'entry.v1.Entry/GetEntry': {},
  'entry.v1.Entry/BatchCreateEntry': {},
  'entry.v1.Entry/BatchUpdateEntry': {},
  'entry.v1.Entry/BatchDeleteEntry': {},
  'entry.v1.Entry/GetAuthorizedEntries': { outputMask: {} },
  'entry.v1.Entry/SyncAuthorizedEntries': { outputMask: {} },
  'svid.v1.SVID/MintX509SVID': {},
  'svid.v1.SVID/MintJWTSVID': {},
  'svid.v1.SVID/MintWITSVID': {},
  'svid.v1.SVID/BatchNewX509SVID': {},
  'svid.v1.SVID/NewJWTSVID': {},
  'svid.v1.SVID/BatchNewWITSVID': {},
  'svid.v1.SVID/NewDownstreamX509CA': {},
  'bundle.v1.Bundle/CountBundles': {},
  'bundle.v1.Bundle/GetBundle': { outputMask: {} },
  'bundle.v1.Bundle/AppendBundle': {},
  'bundle.v1.Bundle/PublishJWTAuthority': {},
  'bundle.v1.Bundle/PublishWITAuthority': {},
  'bundle.v1.Bundle/ListFederatedBundles': {},
  'bundle.v1.Bundle/GetFederatedBundle': {},
  'bundle.v1.Bundle/BatchCreateFederatedBundle': {},
  'bundle.v1.Bundle/BatchUpdateFederatedBundle': {},
  'bundle.v1.Bundle/BatchSetFederatedBundle': {},
  'bundle.v1.Bundle/BatchDeleteFederatedBundle': {},
  'trustdomain.v1.TrustDomain/ListFederationRelationships': {},
  'trustdomain.v1.TrustDomain/GetFederationRelationship': {},
  'trustdomain.v1.TrustDomain/BatchCreateFederationRelationship': {},
  'trustdomain.v1.TrustDomain/BatchUpdateFederationRelationship': {},
  'trustdomain.v1.TrustDomain/BatchDeleteFederationRelationship': {},
  'trustdomain.v1.TrustDomain/RefreshBundle': {},
  'localauthority.v1.LocalAuthority/GetJWTAuthorityState': {},
  'localauthority.v1.LocalAuthority/ActivateJWTAuthority': {},
  'localauthority.v1.LocalAuthority/TaintJWTAuthority': {},
  'localauthority.v1.LocalAuthority/RevokeJWTAuthority': {},
  'localauthority.v1.LocalAuthority/GetX509AuthorityState': {},
  'localauthority.v1.LocalAuthority/ActivateX509Authority': {},
  'localauthority.v1.LocalAuthority/TaintX509Authority': {},
  'localauthority.v1.LocalAuthority/TaintX509UpstreamAuthority': {},
  'localauthority.v1.LocalAuthority/RevokeX509Authority': {},
  'localauthority.v1.LocalAuthority/RevokeX509UpstreamAuthority': {},
  'localauthority.v1.LocalAuthority/GetWITAuthorityState': {},
  'localauthority.v1.LocalAuthority/ActivateWITAuthority': {},
  'localauthority.v1.LocalAuthority/TaintWITAuthority': {},
  'localauthority.v1.LocalAuthority/RevokeWITAuthority': {},
  'logger.v1.Logger/GetLogger': {},
  'logger.v1.Logger/SetLogLevel': {},
  'logger.v1.Logger/ResetLogLevel': {},
  'debug.v1.Debug/GetInfo': {},
};

/** Every method by every caller. */
export function accessProbes(): Probe[] {
  return Object.entries(access).flatMap(([method, request]) =>
    callers.map((as): Probe => ({ name: `as ${as}`, as, method, requests: [request] })),
  );
}
