import { createHash } from 'node:crypto';

import type { JsonObject } from '@bufbuild/protobuf';

import { IdentityError } from '../../core/errors.ts';
import type { Bundle as WireBundle } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import type { Entry as WireEntry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { JWTKey } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import { Bundle, JwtAuthority, X509Authority } from '../../spiffe/bundle.ts';
import { metadataOf, type WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { createSpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain, type TrustDomain } from '../../spiffe/trust-domain.ts';
import type { AgentEntry } from '../cache/identities.ts';
import { formatSelector } from '../cache/selectors.ts';

/**
 * Reads an entry as the CA sends it.
 *
 * @throws IdentityError `invalid_argument`, naming the field
 */
export function readEntry(wire: WireEntry): AgentEntry {
  if (wire.id === '') throw new IdentityError('invalid_argument', 'is missing', { field: 'id' });
  const selectors = [...new Set(wire.selectors.map(formatSelector))].sort();
  if (selectors.length === 0) throw new IdentityError('invalid_argument', 'must not be empty', { field: 'selectors' });
  const { trustDomain = '', path = '' } = wire.spiffeId ?? {};
  return {
    id: wire.id,
    spiffeId: createSpiffeId(parseTrustDomain(trustDomain, 'spiffe_id.trust_domain'), path, 'spiffe_id.path'),
    selectors,
    federatesWith: [...new Set(wire.federatesWith.map((name) => parseTrustDomain(name, 'federates_with').name))].sort(),
    hint: wire.hint,
    admin: wire.admin,
    downstream: wire.downstream,
    dnsNames: wire.dnsNames,
    x509SvidTtlSeconds: wire.x509SvidTtl,
    jwtSvidTtlSeconds: wire.jwtSvidTtl,
    revisionNumber: wire.revisionNumber,
    createdAtSeconds: Number(wire.createdAt),
    disableX509SvidPrefetch: wire.additionalAttributes?.disableX509SvidPrefetch ?? false,
    jwtSvidIncludeJti: wire.additionalAttributes?.jwtSvidIncludeJti ?? false,
    ...(wire.countersignJwtClaims === undefined ? {} : { jwtClaimsDigest: digestOf(wire.countersignJwtClaims) }),
    workload: metadataOf(workloadOf(wire), selectors),
  };
}

function workloadOf(wire: WireEntry): WorkloadMetadata {
  const { namespace = '', serviceAccount = '' } = wire.countersignWorkload ?? {};
  return { ...(namespace === '' ? {} : { namespace }), ...(serviceAccount === '' ? {} : { serviceAccount }) };
}

// The CA puts the claims into the tokens; here they only tell apart the tokens of before a change.
function digestOf(claims: JsonObject): string {
  return createHash('sha256').update(JSON.stringify(claims)).digest('base64url');
}

/**
 * Reads a bundle as the CA sends it.
 *
 * @param expected the trust domain that it must be of; any when undefined
 * @throws IdentityError `invalid_argument`
 */
export function readBundle(wire: WireBundle, expected?: TrustDomain): Bundle {
  const trustDomain = parseTrustDomain(wire.trustDomain, 'trust_domain');
  if (expected !== undefined && !trustDomain.equals(expected)) {
    throw new IdentityError('invalid_argument', `the CA sent the bundle of ${trustDomain.name}, not of ${expected.name}`, {
      field: 'trust_domain',
    });
  }
  return new Bundle({
    trustDomain,
    x509Authorities: wire.x509Authorities.map(({ asn1, tainted }) => new X509Authority(asn1, { tainted })),
    jwtAuthorities: wire.jwtAuthorities.map(readKey),
    witAuthorities: wire.witAuthorities.map(readKey),
    refreshHintSeconds: Number(wire.refreshHint),
    sequenceNumber: wire.sequenceNumber,
  });
}

function readKey({
  keyId,
  publicKey,
  expiresAt,
  tainted,
}: Pick<JWTKey, 'keyId' | 'publicKey' | 'expiresAt' | 'tainted'>): JwtAuthority {
  return new JwtAuthority(keyId, publicKey, { expiresAtMs: expiresAt === 0n ? undefined : Number(expiresAt) * 1000, tainted });
}
