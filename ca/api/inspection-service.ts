import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  AgentsStatusSchema,
  AuthorityStatusSchema,
  GetStatusResponseSchema,
  Inspection,
} from '../../proto/gen/countersign/admin/v1/inspection_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Checks } from '../../runtime/http.ts';
import type { Peer } from '../../runtime/peer.ts';
import { productVersion } from '../../runtime/version.ts';
import type { Authorities } from '../authorities/authorities.ts';
import type { AuthorityKind } from '../model.ts';
import type { AgentStreams } from './agent-streams.ts';
import type { ApiContext } from './api-context.ts';

/** What the service needs besides the common context. */
export interface InspectionOptions extends Pick<ApiContext, 'clock' | 'registry' | 'trustDomain'> {
  readonly authorities: Authorities;
  readonly streams: AgentStreams;
  /** Those of `/readyz`. */
  readonly checks: Checks;
}

const LAG_MS = 5_000;
const MAX_LISTED = 100;

/** `countersign.admin.v1.Inspection`: how this replica is, for `countersign check`. */
export function inspectionService(options: InspectionOptions): ServiceHandlers<typeof Inspection, Peer> {
  return { getStatus: () => status(options) };
}

function status(options: InspectionOptions): MessageInitShape<typeof GetStatusResponseSchema> {
  const { clock, registry, trustDomain } = options;
  return {
    version: productVersion(),
    trustDomain: trustDomain.name,
    nowMs: BigInt(clock.nowMs()),
    revision: BigInt(registry.revision),
    components: Object.entries(options.checks).map(([name, check]) => ({ name, ...check() })),
    authorities: options.authorities.kinds.flatMap((kind) => authoritiesOf(kind, options)),
    agents: agents(options),
    entries: registry.entries.count(),
  };
}

function authoritiesOf(
  kind: AuthorityKind,
  { authorities }: InspectionOptions,
): MessageInitShape<typeof AuthorityStatusSchema>[] {
  return Object.entries(authorities.states(kind)).flatMap(([state, authority]) => {
    if (authority === undefined) return [];
    const { authorityId: id, expiresAtSeconds, tainted } = authority;
    return [{ kind, id, state, expiresAt: BigInt(expiresAtSeconds), tainted }];
  });
}

function agents({ registry, clock, streams }: InspectionOptions): MessageInitShape<typeof AgentsStatusSchema> {
  const all = registry.agents.list({}).items;
  const nowMs = clock.nowMs();
  const expired = all.filter(
    ({ banned, expiresAtMs, nextExpiresAtMs }) => !banned && Math.max(expiresAtMs, nextExpiresAtMs) < nowMs,
  );
  return {
    attested: all.length,
    expired: expired.length,
    expiredIds: expired.slice(0, MAX_LISTED).map(({ id }) => id.toString()),
    banned: all.filter(({ banned }) => banned).length,
    connected: streams.connected,
    lagging: streams.lagging({ longerThanMs: LAG_MS, limit: MAX_LISTED }).map((stream) => ({
      agentId: stream.agentId,
      acknowledgedRevision: BigInt(stream.acknowledgedRevision),
      sentRevision: BigInt(stream.sentRevision),
      sinceMs: BigInt(stream.pendingSinceMs ?? 0),
    })),
  };
}
