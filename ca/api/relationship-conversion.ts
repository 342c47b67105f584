import type { MessageInitShape } from '@bufbuild/protobuf';
import { IdentityError } from '../../core/errors.ts';
import type {
  FederationRelationship as ProtoRelationship,
  FederationRelationshipMask,
  FederationRelationshipSchema,
} from '../../proto/gen/spire/api/types/federationrelationship_pb.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { BundleEndpointProfile, FederationRelationship } from '../model.ts';
import { bundleFromProto, bundleToProto } from './bundle-conversion.ts';
import { attempt } from './item-status.ts';
import { trustDomainFromProto } from './id-conversion.ts';

/** A relationship, and the bundle to begin with when one was given. */
export interface RelationshipInput {
  readonly relationship: FederationRelationship;
  readonly bundle: Bundle | undefined;
}

/** Reads a federation relationship. @throws IdentityError `invalid_argument`, naming the field */
export function relationshipFromProto(proto: ProtoRelationship): RelationshipInput {
  const trustDomain = attempt('failed to parse trust domain', () => trustDomainFromProto(proto.trustDomain));
  const relationship = {
    trustDomain,
    bundleEndpointUrl: readEndpointUrl(proto.bundleEndpointUrl),
    profile: readProfile(proto.bundleEndpointProfile),
  };
  const { trustDomainBundle } = proto;
  if (trustDomainBundle === undefined) return { relationship, bundle: undefined };
  const bundleDomain = attempt('failed to parse bundle', () =>
    trustDomainFromProto(trustDomainBundle.trustDomain, 'trust_domain_bundle.trust_domain'),
  );
  if (!bundleDomain.equals(trustDomain)) {
    const message = `trust domain bundle ("${bundleDomain.name}") must match the trust domain of the federation relationship ("${trustDomain.name}")`;
    throw new IdentityError('invalid_argument', message, { field: 'trust_domain_bundle' });
  }
  return { relationship, bundle: attempt('failed to parse bundle', () => bundleFromProto(trustDomainBundle, trustDomain)) };
}

const URL_FIELD = 'bundle_endpoint_url';

function readEndpointUrl(text: string): string {
  const fault = (message: string): IdentityError => new IdentityError('invalid_argument', message, { field: URL_FIELD });
  if (!/^https:/i.test(text)) throw fault('bundle endpoint URL must use the https scheme');
  // The parser of WHATWG would take `https:///host` and `https:host` for URLs with a host.
  if (!/^https:\/\/[^/]/i.test(text)) throw fault('bundle endpoint URL must specify the host');
  if (!URL.canParse(text) || /%(?![0-9A-Fa-f]{2})/.test(text)) throw fault('failed to parse bundle endpoint URL');
  const { username, password } = new URL(text);
  if (username !== '' || password !== '' || /^https:\/\/[^/?#]*@/i.test(text))
    throw fault('bundle endpoint URL must not contain user info');
  return text;
}

function readProfile(profile: ProtoRelationship['bundleEndpointProfile']): BundleEndpointProfile {
  const field = 'bundle_endpoint_profile';
  if (profile.case === 'httpsWeb') return { kind: 'https_web' };
  if (profile.case === 'httpsSpiffe') {
    const endpointSpiffeId = attempt('failed to parse endpoint SPIFFE ID', () =>
      parseSpiffeId(profile.value.endpointSpiffeId, `${field}.https_spiffe.endpoint_spiffe_id`),
    );
    return { kind: 'https_spiffe', endpointSpiffeId };
  }
  throw new IdentityError('invalid_argument', 'unsupported bundle endpoint profile type; name https_web or https_spiffe', {
    field,
  });
}

/** The fields of a relationship's message that the mask names, all without one; the trust domain always. */
export function relationshipToProto(
  { trustDomain, bundleEndpointUrl, profile }: FederationRelationship,
  bundle: Bundle | undefined,
  mask?: FederationRelationshipMask,
): MessageInitShape<typeof FederationRelationshipSchema> {
  const all = mask === undefined;
  const proto: MessageInitShape<typeof FederationRelationshipSchema> = { trustDomain: trustDomain.name };
  if (all || mask.bundleEndpointUrl) proto.bundleEndpointUrl = bundleEndpointUrl;
  if (all || mask.bundleEndpointProfile) {
    proto.bundleEndpointProfile =
      profile.kind === 'https_web'
        ? { case: 'httpsWeb', value: {} }
        : { case: 'httpsSpiffe', value: { endpointSpiffeId: profile.endpointSpiffeId.toString() } };
  }
  if ((all || mask.trustDomainBundle) && bundle !== undefined) proto.trustDomainBundle = bundleToProto(bundle);
  return proto;
}
