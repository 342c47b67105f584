import type { Source } from '../../core/current.ts';
import { Inspection } from '../../proto/gen/countersign/admin/v1/inspection_pb.ts';
import { Trust } from '../../proto/gen/countersign/admin/v1/trust_pb.ts';
import { Admin } from '../../proto/gen/countersign/admin/v1/admin_pb.ts';
import { Node } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { Policies, Recording } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Debug } from '../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { Logger } from '../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { TrustDomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { addHealth } from '../../runtime/grpc/health.ts';
import { addReflection } from '../../runtime/grpc/reflection.ts';
import type { GrpcServer } from '../../runtime/grpc/server.ts';
import type { Checks } from '../../runtime/http.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { NodeAttestor } from '../attest/node-attestor.ts';
import type { Authorities } from '../authorities/authorities.ts';
import type { SettingsSource } from '../authorization-settings.ts';
import type { CallRecording } from '../calls/recording.ts';
import type { ServerSvid } from '../issue/issuer.ts';
import type { LogLevels } from '../log-levels.ts';
import type { AdminLogins } from '../kubernetes/admin-logins.ts';
import type { PolicyProgress } from '../policies/progress.ts';
import type { PolicyStatuses } from '../policies/statuses.ts';
import { adminService } from './admin-service.ts';
import { agentService } from './agent-service.ts';
import type { AgentStreams } from './agent-streams.ts';
import type { ApiContext } from './api-context.ts';
import type { Authorizer } from './authorizer.ts';
import { bundleService } from './bundle-service.ts';
import { debugService } from './debug-service.ts';
import { entryService } from './entry-service.ts';
import { inspectionService } from './inspection-service.ts';
import { localAuthorityService } from './local-authority-service.ts';
import { loggerService } from './logger-service.ts';
import { agentOfPeer, nodeService } from './node-watch.ts';
import { policiesService } from './policies-service.ts';
import { policySimulation } from './policy-simulation.ts';
import { recordingService } from './recording-service.ts';
import type { RpcLimits } from './rpc-limits.ts';
import { svidService } from './svid-service.ts';
import { trustService } from './trust-service.ts';
import { trustDomainService, type FederationRefresher } from './trust-domain-service.ts';

/** Everything that the services are built from. */
export interface ApiOptions extends ApiContext {
  readonly authorities: Authorities;
  readonly authorizer: Authorizer;
  readonly limits: RpcLimits;
  readonly attestors: ReadonlyMap<string, NodeAttestor>;
  readonly logins: AdminLogins;
  /** Lifetime of an entry's SVID that does not name one. */
  readonly x509SvidTtlSeconds: number;
  readonly refresher: FederationRefresher;
  readonly svid: Source<ServerSvid>;
  readonly logLevels: LogLevels;
  /** The streams of `countersign.node.v1` that are open to this replica. */
  readonly streams: AgentStreams;
  /** What agents are told of authorization in all of the trust domain. */
  readonly settings: SettingsSource;
  /** What of policy is in force at agents. */
  readonly policyProgress: PolicyProgress;
  /** How policy resources stand. */
  readonly policyStatuses: PolicyStatuses;
  /** Calls that agents report. */
  readonly recording: CallRecording;
  /** Those behind `/readyz`. */
  readonly checks: Checks;
  /** Whether the CA serves; what the health service answers. */
  readonly serving: Source<boolean>;
  readonly reflection: boolean;
}

/** Adds what agents and remote admins may call, which the private socket has too. */
export function addSharedServices(server: GrpcServer<Peer>, options: ApiOptions): void {
  server.addService(Admin, adminService(options));
  server.addService(Agent, agentService(options));
  server.addService(Bundle, bundleService(options));
  server.addService(Entry, entryService(options));
  server.addService(SVID, svidService(options));
  server.addService(TrustDomain, trustDomainService(options));
  server.addService(LocalAuthority, localAuthorityService(options.authorities));
  server.addService(Inspection, inspectionService(options));
  server.addService(Trust, trustService(options));
  server.addService(Policies, { ...policiesService(options), ...policySimulation(options.recording) });
  server.addService(Recording, recordingService(options));
  const assertStillAuthorized = options.authorizer.recheck.bind(options.authorizer);
  server.addService(Node, nodeService({ ...options, assertStillAuthorized, agentOf: agentOfPeer }), { standing: ['watch'] });
}

/** Adds what only the private socket has. */
export function addLocalServices(server: GrpcServer<Peer>, options: ApiOptions): void {
  server.addService(Logger, loggerService(options.logLevels));
  server.addService(Debug, debugService(options));
  addHealth(server, options.serving);
  if (options.reflection) addReflection(server);
}
