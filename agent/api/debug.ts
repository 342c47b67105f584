import type { Clock } from '../../core/clock.ts';
import type { Debug } from '../../proto/gen/spire/api/agent/debug/v1/debug_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { parseCertificate, type Certificate } from '../../spiffe/certificate.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { NodeIdentity } from '../attest/node-identity.ts';
import type { IdentityCache } from '../cache/identity-cache.ts';
import type { JwtSvidCache } from '../cache/jwt-svid-cache.ts';
import type { Synchronizer } from '../sync/synchronizer.ts';
import type { Workload } from '../workload-attest/attestation.ts';

/** What the debug API tells of. */
export interface DebugOptions {
  readonly node: NodeIdentity;
  readonly cache: IdentityCache;
  readonly jwtSvids: JwtSvidCache;
  readonly synchronizer: Synchronizer;
  readonly clock: Clock;
}

/** SPIRE's debug API of an agent (`spire.agent.debug.v1`), on the private socket. */
export function debugApi({ node, cache, jwtSvids, synchronizer, clock }: DebugOptions): ServiceHandlers<typeof Debug, Workload> {
  const startedMs = clock.monotonicMs();
  return {
    getInfo() {
      const { x509Svids } = cache.counts;
      return {
        svidChain: chainOf(node).map(describe),
        uptime: Math.floor((clock.monotonicMs() - startedMs) / 1000),
        svidsCount: x509Svids,
        cachedX509SvidsCount: x509Svids,
        cachedJwtSvidsCount: jwtSvids.size,
        cachedSvidstoreX509SvidsCount: 0,
        lastSyncSuccess: BigInt(Math.floor(synchronizer.status.lastSyncMs / 1000)),
      };
    },
  };
}

// The agent's chain with the authority that it leads to, as SPIRE shows it.
function chainOf(node: NodeIdentity): readonly Certificate[] {
  const chain = (node.svid.value?.chainDer ?? []).map((der) => parseCertificate(der));
  const last = chain.at(-1);
  const root = node.bundle.value?.x509Authorities.find(
    ({ certificate }) => last !== undefined && Buffer.compare(certificate.subjectRaw, last.issuerRaw) === 0,
  );
  return root === undefined ? chain : [...chain, root.certificate];
}

function describe({ uriSans, notAfterMs, subjectCommonName }: Certificate) {
  const expiresAt = BigInt(Math.floor(notAfterMs / 1000));
  const subject = subjectCommonName === undefined ? '' : `CN=${subjectCommonName}`;
  const [uri] = uriSans;
  if (uri === undefined) return { expiresAt, subject };
  const { trustDomain, path } = parseSpiffeId(uri);
  return { expiresAt, subject, id: { trustDomain: trustDomain.name, path } };
}
