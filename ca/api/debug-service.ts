import { X509Certificate } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Source } from '../../core/current.ts';
import type { Debug } from '../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { type GetInfoResponseSchema } from '../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import { parseCertificate, type Certificate } from '../../spiffe/certificate.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { ServerSvid } from '../issue/issuer.ts';
import type { ApiContext } from './api-context.ts';
import { idToProto } from './id-conversion.ts';

/** What the service needs besides the common context. */
export interface DebugServiceOptions extends Pick<ApiContext, 'clock' | 'registry'> {
  readonly svid: Source<ServerSvid>;
}

const CACHE_MS = 5_000;

/** `spire.api.server.debug.v1.Debug`: how the CA is doing, at most five seconds old. */
export function debugService(options: DebugServiceOptions): ServiceHandlers<typeof Debug, Peer> {
  const startedMs = options.clock.monotonicMs();
  let cached: { readonly atMs: number; readonly info: MessageInitShape<typeof GetInfoResponseSchema> } | undefined;
  return {
    getInfo: () => {
      const nowMs = options.clock.monotonicMs();
      if (cached === undefined || nowMs - cached.atMs >= CACHE_MS)
        cached = { atMs: nowMs, info: info(options, nowMs - startedMs) };
      return cached.info;
    },
  };
}

function info({ registry, svid }: DebugServiceOptions, uptimeMs: number): MessageInitShape<typeof GetInfoResponseSchema> {
  return {
    agentsCount: registry.agents.count(),
    entriesCount: registry.entries.count(),
    federatedBundlesCount: registry.federatedBundles.count() + 1,
    svidChain: chainToRoot(
      svid.value.chain,
      registry.bundle.value.x509Authorities.map(({ der }) => der),
    ).map(certificateToProto),
    uptime: Math.floor(uptimeMs / 1000),
  };
}

/** The presented chain and the root it leads to. */
function chainToRoot(chain: readonly Uint8Array[], roots: readonly Uint8Array[]): readonly Certificate[] {
  const presented = chain.map((der) => parseCertificate(der));
  const last = presented.at(-1);
  const root = roots.map((der) => parseCertificate(der)).find((candidate) => last !== undefined && issued(candidate, last));
  return root === undefined ? presented : [...presented, root];
}

function issued(issuer: Certificate, child: Certificate): boolean {
  return Buffer.compare(issuer.subjectRaw, child.issuerRaw) === 0 && new X509Certificate(child.raw).verify(issuer.publicKey());
}

function certificateToProto(certificate: Certificate) {
  const [uri] = certificate.uriSans;
  return {
    ...(uri?.startsWith('spiffe://') === true ? { id: idToProto(parseSpiffeId(uri)) } : {}),
    expiresAt: BigInt(Math.floor(certificate.notAfterMs / 1000)),
    // RFC 2253 writes the parts of a name from the last to the first.
    subject: new X509Certificate(certificate.raw).subject.split('\n').toReversed().join(','),
  };
}
