import { refine } from '../../core/decode.ts';
import type { Fault } from '../../core/decode.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { EndpointProfile, FederationDeclaration } from '../federation-declaration.ts';
import { presentOr } from '../identity-fields.ts';
import { parserOf } from '../../policy/schema/resource.ts';
import { object, optional, required } from '../../policy/schema/collections.ts';
import { word } from '../../policy/schema/scalars.ts';
import { converted } from '../../policy/schema/schema.ts';
import type { ValueOf } from '../../policy/schema/schema.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { anyText, someText, SPIRE_API, trustDomainOf } from './fields.ts';

const written = object(
  {
    type: required('', word('https_web', 'https_spiffe')),
    endpointSPIFFEID: optional('', anyText, ''),
  },
  { unknownFields: 'ignored' },
);

type Written = ValueOf<typeof written>;

function idFaults({ type, endpointSPIFFEID }: Written): readonly Fault[] {
  const path = 'endpointSPIFFEID';
  if (type === 'https_web') return endpointSPIFFEID === '' ? [] : [{ path, message: 'https_web must not have it' }];
  try {
    parseSpiffeId(endpointSPIFFEID);
    return [];
  } catch (error) {
    return [{ path, message: isIdentityError(error) ? error.message.replace(/^spiffe_id: /, '') : 'is no SPIFFE ID' }];
  }
}

function profileOf({ type, endpointSPIFFEID }: Written): EndpointProfile {
  return type === 'https_web' ? { type } : { type, endpointSpiffeId: parseSpiffeId(endpointSPIFFEID) };
}

const profile = converted({ ...written, decoder: refine(written.decoder, idFaults) }, profileOf);

function checkUrl(url: string): string {
  const rest = /^https:\/\/([^/?#]+)/i.exec(url)?.[1];
  if (rest === undefined || !URL.canParse(url)) throw new IdentityError('invalid_argument', 'must be an https URL');
  if (rest.includes('@')) throw new IdentityError('invalid_argument', 'must not have a user name or password');
  return url;
}

const spec = object(
  {
    trustDomain: required('', converted(someText, trustDomainOf)),
    bundleEndpointURL: required('', converted(someText, checkUrl)),
    bundleEndpointProfile: required('', profile),
    trustDomainBundle: optional('', anyText, ''),
    className: optional('', anyText, ''),
  },
  { unknownFields: 'ignored' },
);

/** SPIRE's ClusterFederatedTrustDomain. */
export const CLUSTER_FEDERATED_TRUST_DOMAIN_TYPE = {
  ...SPIRE_API,
  kind: 'ClusterFederatedTrustDomain',
  plural: 'clusterfederatedtrustdomains',
} as const;

const parse = parserOf(CLUSTER_FEDERATED_TRUST_DOMAIN_TYPE, spec);

/** Reads SPIRE's ClusterFederatedTrustDomain. @throws DecodeError that names every faulty field */
export function parseClusterFederatedTrustDomain(object: unknown): FederationDeclaration {
  const { meta, spec: read } = parse(object);
  return {
    kind: 'ClusterFederatedTrustDomain',
    meta,
    trustDomain: read.trustDomain,
    bundleEndpointUrl: read.bundleEndpointURL,
    bundleEndpointProfile: read.bundleEndpointProfile,
    trustDomainBundle: presentOr(read.trustDomainBundle, undefined),
    className: presentOr(read.className, undefined),
  };
}
