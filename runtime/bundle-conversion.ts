import type { MessageInitShape } from '@bufbuild/protobuf';

import type { Bundle as WireBundle, BundleSchema, JWTKey } from '../proto/gen/spire/api/types/bundle_pb.ts';
import { Bundle, JwtAuthority, X509Authority } from '../spiffe/bundle.ts';
import { parseTrustDomain } from '../spiffe/trust-domain.ts';

/**
 * Reads a bundle as `spire.api.types.Bundle` carries it. Certificates and keys are checked: a bundle with a broken one is
 * refused whole.
 *
 * @throws IdentityError `invalid_argument` that names the field
 */
export function parseWireBundle(wire: WireBundle): Bundle {
  const bundle = new Bundle({
    trustDomain: parseTrustDomain(wire.trustDomain),
    x509Authorities: wire.x509Authorities.map(({ asn1, tainted }) => new X509Authority(asn1, { tainted })),
    jwtAuthorities: wire.jwtAuthorities.map(parseWireKey),
    witAuthorities: wire.witAuthorities.map(parseWireKey),
    refreshHintSeconds: wire.refreshHint === 0n ? undefined : Number(wire.refreshHint),
    sequenceNumber: wire.sequenceNumber,
  });
  // Both getters parse on first use; asking now makes a broken authority fail here and not at its first use.
  for (const authority of bundle.x509Authorities) void authority.certificate;
  for (const authority of [...bundle.jwtAuthorities.values(), ...bundle.witAuthorities.values()]) void authority.publicKey;
  return bundle;
}

/** A bundle as `spire.api.types.Bundle` carries it. */
export function wireBundle(bundle: Bundle): MessageInitShape<typeof BundleSchema> {
  return {
    trustDomain: bundle.trustDomain.name,
    x509Authorities: bundle.x509Authorities.map(({ der, tainted }) => ({ asn1: der, tainted })),
    jwtAuthorities: [...bundle.jwtAuthorities.values()].map(wireKey),
    witAuthorities: [...bundle.witAuthorities.values()].map(wireKey),
    refreshHint: BigInt(bundle.refreshHintSeconds ?? 0),
    sequenceNumber: bundle.sequenceNumber ?? 0n,
  };
}

function parseWireKey({
  keyId,
  publicKey,
  expiresAt,
  tainted,
}: Pick<JWTKey, 'keyId' | 'publicKey' | 'expiresAt' | 'tainted'>): JwtAuthority {
  return new JwtAuthority(keyId, publicKey, { tainted, expiresAtMs: expiresAt === 0n ? undefined : Number(expiresAt) * 1000 });
}

function wireKey({ keyId, spki, expiresAtMs, tainted }: JwtAuthority): {
  keyId: string;
  publicKey: Uint8Array;
  expiresAt: bigint;
  tainted: boolean;
} {
  return { keyId, publicKey: spki, expiresAt: BigInt(Math.floor((expiresAtMs ?? 0) / 1000)), tainted };
}
