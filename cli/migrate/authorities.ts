import { createHash } from 'node:crypto';

import type { MessageInitShape } from '@bufbuild/protobuf';

import { Trust } from '../../proto/gen/countersign/admin/v1/trust_pb.ts';
import { type AppendBundleRequestSchema, Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';

/** An authority in one of the two bundles. */
export interface BundleItem {
  readonly kind: string;
  /** As people know it: the subject key ID or the key ID. */
  readonly id: string;
  /** What makes it the same on both sides: its kind and the hash of its bytes. */
  readonly fingerprint: string;
  readonly bytes: Uint8Array;
  /** Unix seconds; 0 when it never expires. */
  readonly expiresAt: number;
  /** Added to our bundle through the API; always false in SPIRE's, which does not say. */
  readonly appended: boolean;
}

/** The authorities of SPIRE's bundle. */
export async function spireAuthorities(spire: GrpcConnection): Promise<readonly BundleItem[]> {
  const bundle = await spire.client(BundleService).getBundle({});
  const tokens = (['jwt', 'wit'] as const).flatMap((kind) =>
    bundle[`${kind}Authorities`].map(({ keyId, publicKey, expiresAt }) =>
      item({ kind, id: keyId, bytes: publicKey, expiresAt: Number(expiresAt) }),
    ),
  );
  return [...bundle.x509Authorities.map(({ asn1 }) => x509Item(asn1)), ...tokens];
}

/** The authorities of our bundle. */
export async function ourAuthorities(ca: GrpcConnection): Promise<readonly BundleItem[]> {
  const { authorities } = await ca.client(Trust).listAuthorities({});
  return authorities.map(({ kind, id, publicBytes, expiresAt, appended }) =>
    item({ kind, id, bytes: publicBytes, expiresAt: Number(expiresAt), appended }),
  );
}

function x509Item(der: Uint8Array): BundleItem {
  const { subjectKeyId, notAfterMs } = parseCertificate(der, 'authority');
  const id = Buffer.from(subjectKeyId ?? []).toString('hex');
  return item({ kind: 'x509', id, bytes: der, expiresAt: Math.floor(notAfterMs / 1000) });
}

function item(parts: Omit<BundleItem, 'fingerprint' | 'appended'> & { appended?: boolean }): BundleItem {
  const digest = createHash('sha256').update(parts.bytes).digest('hex');
  return { appended: false, ...parts, fingerprint: `${parts.kind}:${digest}` };
}

/** Adds authorities to a bundle, of SPIRE or of ours: both know the same call. */
export async function appendTo(connection: GrpcConnection, items: readonly BundleItem[]): Promise<void> {
  if (items.length === 0) return;
  const keys = (kind: string): NonNullable<MessageInitShape<typeof AppendBundleRequestSchema>['jwtAuthorities']> =>
    items
      .filter((each) => each.kind === kind)
      .map(({ id, bytes, expiresAt }) => ({ keyId: id, publicKey: bytes, expiresAt: BigInt(expiresAt) }));
  const wit = keys('wit').map(({ keyId = '', publicKey = new Uint8Array(), expiresAt = 0n }) => ({
    keyId,
    publicKey,
    expiresAt,
  }));
  await connection.client(BundleService).appendBundle({
    x509Authorities: items.filter(({ kind }) => kind === 'x509').map(({ bytes }) => ({ asn1: bytes })),
    jwtAuthorities: keys('jwt'),
    witAuthorities: wit,
  });
}

/** Takes appended authorities out of our bundle. */
export async function removeAppended(ca: GrpcConnection, items: readonly BundleItem[]): Promise<void> {
  if (items.length === 0) return;
  await ca.client(Trust).removeAppendedAuthorities({ authorities: items.map(({ kind, id }) => ({ kind, id })) });
}
