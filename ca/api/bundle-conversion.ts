import type { MessageInitShape } from '@bufbuild/protobuf';
import { IdentityError } from '../../core/errors.ts';
import type {
  Bundle as ProtoBundle,
  BundleMask,
  BundleSchema,
  JWTKey,
  WITKey,
  X509Certificate,
} from '../../proto/gen/spire/api/types/bundle_pb.ts';
import { Bundle, JwtAuthority, X509Authority } from '../../spiffe/bundle.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { parsePublicKey } from '../../spiffe/public-key.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';

type TokenKey = JWTKey | WITKey;

/** Reads the bundle of a trust domain. @throws IdentityError `invalid_argument`, naming the faulty authority */
export function bundleFromProto(proto: ProtoBundle, trustDomain: TrustDomain): Bundle {
  const jwtAuthorities = tokenAuthoritiesFromProto(proto.jwtAuthorities, 'jwt_authorities');
  const witAuthorities = tokenAuthoritiesFromProto(proto.witAuthorities, 'wit_authorities');
  refuseSharedKeyIds(jwtAuthorities, witAuthorities);
  return new Bundle({
    trustDomain,
    x509Authorities: x509AuthoritiesFromProto(proto.x509Authorities),
    jwtAuthorities,
    witAuthorities,
    refreshHintSeconds: readRefreshHint(proto.refreshHint),
    sequenceNumber: proto.sequenceNumber,
  });
}

/** Reads X.509 authorities. @throws IdentityError `invalid_argument`, naming the faulty one */
export function x509AuthoritiesFromProto(protos: readonly X509Certificate[]): readonly X509Authority[] {
  return protos.map(({ asn1 }, index) => {
    parseCertificate(asn1, `x509_authorities[${index}].asn1`);
    return new X509Authority(asn1);
  });
}

/** Reads JWT or WIT authorities. @throws IdentityError `invalid_argument`, naming the faulty one */
export function tokenAuthoritiesFromProto(protos: readonly TokenKey[], field: string): readonly JwtAuthority[] {
  const authorities = protos.map((proto, index) => tokenAuthorityFromProto(proto, `${field}[${index}]`));
  refuseSharedKeyIds(authorities, []);
  return authorities;
}

function tokenAuthorityFromProto({ publicKey, keyId, expiresAt }: TokenKey, field: string): JwtAuthority {
  parsePublicKey(publicKey, `${field}.public_key`);
  if (keyId === '') throw new IdentityError('invalid_argument', 'missing key ID', { field: `${field}.key_id` });
  if (expiresAt < 0n || expiresAt > MAX_SECONDS) {
    throw new IdentityError('invalid_argument', 'must be seconds since 1970, or 0', { field: `${field}.expires_at` });
  }
  return new JwtAuthority(keyId, publicKey, { expiresAtMs: expiresAt === 0n ? undefined : Number(expiresAt) * 1000 });
}

const MAX_SECONDS = 253_402_300_799n; // The end of the year 9999, as far as X.509 reaches.

// WIT-SVID §6.1: no two keys of a bundle share an ID.
function refuseSharedKeyIds(jwt: readonly JwtAuthority[], wit: readonly JwtAuthority[]): void {
  const seen = new Set<string>();
  for (const { keyId } of [...jwt, ...wit]) {
    if (seen.has(keyId)) throw new IdentityError('invalid_argument', 'two authorities have the same key ID', { field: 'key_id' });
    seen.add(keyId);
  }
}

function readRefreshHint(seconds: bigint): number | undefined {
  if (seconds < 0n || seconds > MAX_SECONDS) {
    throw new IdentityError('invalid_argument', 'must be a number of seconds, or 0', { field: 'refresh_hint' });
  }
  return seconds === 0n ? undefined : Number(seconds);
}

/** The parts of `next` that the mask names, on top of `present`; all of them without a mask. */
export function mergeBundle(present: Bundle, next: Bundle, mask: BundleMask | undefined): Bundle {
  if (mask === undefined) return next;
  return new Bundle({
    trustDomain: present.trustDomain,
    x509Authorities: (mask.x509Authorities ? next : present).x509Authorities,
    jwtAuthorities: (mask.jwtAuthorities ? next : present).jwtAuthorities.values(),
    witAuthorities: (mask.witAuthorities ? next : present).witAuthorities.values(),
    refreshHintSeconds: (mask.refreshHint ? next : present).refreshHintSeconds,
    sequenceNumber: (mask.sequenceNumber ? next : present).sequenceNumber,
  });
}

/** The fields of a bundle's message that the mask names, all without one; the trust domain always. */
export function bundleToProto(bundle: Bundle, mask?: BundleMask): MessageInitShape<typeof BundleSchema> {
  const all = mask === undefined;
  const proto: MessageInitShape<typeof BundleSchema> = { trustDomain: bundle.trustDomain.name };
  if (all || mask.x509Authorities)
    proto.x509Authorities = bundle.x509Authorities.map(({ der, tainted }) => ({ asn1: der, tainted }));
  if (all || mask.jwtAuthorities) proto.jwtAuthorities = tokenAuthoritiesToProto(bundle.jwtAuthorities.values());
  if (all || mask.witAuthorities) proto.witAuthorities = tokenAuthoritiesToProto(bundle.witAuthorities.values());
  if (all || mask.refreshHint) proto.refreshHint = BigInt(bundle.refreshHintSeconds ?? 0);
  if (all || mask.sequenceNumber) proto.sequenceNumber = bundle.sequenceNumber ?? 0n;
  return proto;
}

/** JWT or WIT authorities as the fields of their messages. */
export function tokenAuthoritiesToProto(authorities: Iterable<JwtAuthority>) {
  return Array.from(authorities, ({ spki, keyId, expiresAtMs, tainted }) => ({
    publicKey: spki,
    keyId,
    expiresAt: BigInt(Math.floor((expiresAtMs ?? 0) / 1000)),
    tainted,
  }));
}
