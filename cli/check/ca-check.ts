import { createHash } from 'node:crypto';

import { systemClock } from '../../core/clock.ts';
import { Inspection } from '../../proto/gen/countersign/admin/v1/inspection_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { caFindings } from './ca-findings.ts';
import type { Finding } from './finding.ts';

/** What a check of one CA replica found, and what other checks compare with it. Plain JSON. */
export interface CaReport {
  readonly findings: readonly Finding[];
  /** SHA-256 of each X.509 authority of the bundle, in hexadecimal, sorted. */
  readonly authorities: readonly string[];
  readonly trustDomain: string;
  readonly version: string;
}

/** Asks one CA how it is. @throws IdentityError when it cannot be reached */
export async function checkCa(connection: GrpcConnection, subject: string): Promise<CaReport> {
  try {
    const status = await connection.client(Inspection).getStatus({}, { timeoutMs: 5000 });
    const bundle = await connection.client(Bundle).getBundle({}, { timeoutMs: 5000 });
    return {
      findings: caFindings(status, { subject, nowMs: systemClock.nowMs() }),
      authorities: authorityDigests(bundle.x509Authorities.map(({ asn1 }) => asn1)),
      trustDomain: status.trustDomain,
      version: status.version,
    };
  } catch (error) {
    throw toIdentityError(error);
  }
}

/** Digests by which two bundles are compared. */
export function authorityDigests(certificates: readonly Uint8Array[]): readonly string[] {
  return [...new Set(certificates.map((der) => createHash('sha256').update(der).digest('hex')))].sort();
}
