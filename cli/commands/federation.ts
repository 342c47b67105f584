import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const TRUST_DOMAIN: Readonly<Record<'trust-domain', OptionSpec>> = {
  'trust-domain': { value: 'NAME', summary: 'the foreign trust domain', required: true },
};
const ENDPOINT: Readonly<Record<string, OptionSpec>> = {
  'bundle-endpoint-url': { value: 'URL', summary: 'where it serves its bundle, https://…' },
  'bundle-endpoint-profile': {
    value: 'https_web|https_spiffe',
    summary: 'how the endpoint proves itself: by a certificate of the web, or by its SVID',
  },
  'endpoint-spiffe-id': { value: 'ID', summary: "the endpoint's SPIFFE ID, for https_spiffe" },
  'trust-domain-bundle-path': {
    value: 'FILE',
    summary: 'its bundle of now; https_spiffe needs one before the endpoint can be verified. - reads standard input',
  },
  'trust-domain-bundle-format': {
    value: 'pem|spiffe',
    summary: 'X.509 authorities as PEM, or a SPIFFE bundle document; pem unless given',
  },
};
const CREATE_EXAMPLE =
  'countersign federation create --trust-domain other.org --bundle-endpoint-profile https_spiffe ' +
  '--bundle-endpoint-url https://ca.other.org:8443/ --endpoint-spiffe-id spiffe://other.org/spire/server ' +
  '--trust-domain-bundle-path other.json --trust-domain-bundle-format spiffe';

/** Federation: from where the bundles of foreign trust domains are kept current. */
export const FEDERATION_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['federation', 'create'],
    summary: 'Keep the bundle of a foreign trust domain current from its bundle endpoint',
    options: { ...TRUST_DOMAIN, ...ENDPOINT, ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: [CREATE_EXAMPLE],
    load: async () => (await import('../run/federation.ts')).createRelationship,
  },
  {
    path: ['federation', 'update'],
    summary: 'Change a federation relationship; only the options that are given change it',
    options: { ...TRUST_DOMAIN, ...ENDPOINT, ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: ['countersign federation update --trust-domain other.org --bundle-endpoint-url https://ca2.other.org:8443/'],
    load: async () => (await import('../run/federation.ts')).updateRelationship,
  },
  {
    path: ['federation', 'list'],
    summary: 'List the federation relationships',
    options: { ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: ['countersign federation list', 'countersign federation list --output json'],
    load: async () => (await import('../run/federation.ts')).listRelationships,
  },
  {
    path: ['federation', 'show'],
    summary: 'Show one federation relationship',
    options: { ...TRUST_DOMAIN, ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: ['countersign federation show --trust-domain other.org'],
    load: async () => (await import('../run/federation.ts')).showRelationship,
  },
  {
    path: ['federation', 'refresh'],
    summary: 'Fetch the bundle of a foreign trust domain now',
    options: { ...TRUST_DOMAIN, ...CA_OPTIONS },
    examples: ['countersign federation refresh --trust-domain other.org'],
    load: async () => (await import('../run/federation.ts')).refreshBundle,
  },
  {
    path: ['federation', 'delete'],
    summary: 'Stop keeping a foreign bundle current; the bundle itself stays (countersign bundle delete)',
    options: { ...TRUST_DOMAIN, ...CA_OPTIONS },
    examples: ['countersign federation delete --trust-domain other.org'],
    load: async () => (await import('../run/federation.ts')).deleteRelationship,
  },
];
