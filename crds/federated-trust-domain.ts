import type { FederationDeclaration } from './federation-declaration.ts';
import { className, presentOr } from './identity-fields.ts';
import { spiffeId, trustDomain } from '../policy/schema/identity.ts';
import { READY_COLUMNS } from '../policy/schema/printer-columns.ts';
import { parserOf } from '../policy/schema/resource.ts';
import type { ResourceDefinition } from '../policy/schema/resource.ts';
import { plainStatus } from './resource-status.ts';
import { object, optional, required } from '../policy/schema/collections.ts';
import { text, word } from '../policy/schema/scalars.ts';
import { ruled } from '../policy/schema/schema.ts';
import type { ValueOf } from '../policy/schema/schema.ts';

const endpointUrl = text({
  maxLength: 2048,
  // A host or an address in brackets, then what RFC 3986 allows in a path and a query; no user info, no fragment.
  pattern:
    /^https:\/\/([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?([/?]([A-Za-z0-9._~!$&()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$/,
  meaning: 'an https URL without user name, password and fragment, such as https://example.org/bundle',
});

const profile = ruled(
  object({
    type: required(
      '`https_web`: by a certificate of the public web. `https_spiffe`: by an SVID.',
      word('https_web', 'https_spiffe'),
    ),
    endpointSPIFFEID: optional('For `https_spiffe`: the SPIFFE ID of the endpoint.', spiffeId),
  }),
  {
    cel: '(self.type == "https_spiffe") == has(self.endpointSPIFFEID)',
    message: 'https_spiffe needs it, https_web must not have it',
    at: 'endpointSPIFFEID',
    holds: ({ type, endpointSPIFFEID }) => (type === 'https_spiffe') === (endpointSPIFFEID !== undefined),
  },
);

const spec = object({
  trustDomain: required('The other trust domain.', trustDomain),
  bundleEndpointURL: required('Where its bundle is fetched, over HTTPS.', endpointUrl),
  bundleEndpointProfile: required('How the endpoint proves who it is (SPIFFE Federation, section 5.2).', profile),
  trustDomainBundle: optional(
    'The bundle to begin with, a SPIFFE bundle document (JSON). With `https_spiffe` and an endpoint in the same trust domain the first fetch needs it.',
    text({ maxLength: 524_288, allowEmpty: true }),
    '',
  ),
  className: optional('Which controller is to act on this resource, where there are several.', className, ''),
});

const type = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'FederatedTrustDomain',
  plural: 'federatedtrustdomains',
  namespaced: false,
} as const;

/** FederatedTrustDomain: a trust domain whose bundle the CA fetches. A superset of SPIRE's ClusterFederatedTrustDomain. */
export const FEDERATED_TRUST_DOMAIN: ResourceDefinition<ValueOf<typeof spec>> = {
  type,
  shortNames: ['ftd'],
  description:
    'A trust domain to federate with: the CA fetches its bundle and keeps it current. It has all that a ClusterFederatedTrustDomain of SPIRE has, under the same names.',
  spec,
  status: plainStatus,
  columns: [
    { name: 'Trust Domain', type: 'string', jsonPath: '.spec.trustDomain' },
    { name: 'Endpoint URL', type: 'string', jsonPath: '.spec.bundleEndpointURL' },
    ...READY_COLUMNS,
  ],
  example: `
apiVersion: countersign.dev/v1alpha1
kind: FederatedTrustDomain
metadata:
  name: partner
spec:
  trustDomain: partner.example
  bundleEndpointURL: https://partner.example/bundle
  bundleEndpointProfile:
    type: https_web
`,
};

const parse = parserOf(type, spec);

/** Reads a FederatedTrustDomain. @throws DecodeError that names every faulty field */
export function parseFederatedTrustDomain(object: unknown): FederationDeclaration {
  const { meta, spec: read } = parse(object);
  const { type: profileType, endpointSPIFFEID } = read.bundleEndpointProfile;
  return {
    kind: 'FederatedTrustDomain',
    meta,
    trustDomain: read.trustDomain,
    bundleEndpointUrl: read.bundleEndpointURL,
    bundleEndpointProfile:
      profileType === 'https_spiffe' && endpointSPIFFEID !== undefined
        ? { type: 'https_spiffe', endpointSpiffeId: endpointSPIFFEID }
        : { type: 'https_web' },
    trustDomainBundle: presentOr(read.trustDomainBundle, undefined),
    className: presentOr(read.className, undefined),
  };
}
