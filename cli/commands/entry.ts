import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const FIELDS: Readonly<Record<string, OptionSpec>> = {
  'spiffe-id': { value: 'ID', summary: 'the identity that the workload gets, such as spiffe://example.org/web' },
  'parent-id': { value: 'ID', summary: "the agent (or node group) that may hand it out; its agent's ID after attestation" },
  selector: { value: 'TYPE:VALUE', summary: 'what the workload must have, such as unix:uid:1000', multiple: true },
  'x509-svid-ttl': {
    value: 'TTL',
    summary: 'lifetime of its X.509-SVIDs, such as 30m or 1800; the default of the CA unless given',
  },
  'jwt-svid-ttl': { value: 'TTL', summary: 'lifetime of its JWT-SVIDs' },
  'federates-with': { value: 'TRUST_DOMAIN', summary: 'a foreign trust domain whose bundle it gets', multiple: true },
  dns: { value: 'NAME', summary: 'a DNS name in its X.509-SVID; the first becomes the common name', multiple: true },
  hint: { value: 'TEXT', summary: 'tells identities of one workload apart' },
  admin: { summary: 'it may administer the CA' },
  downstream: { summary: 'it may get an intermediate CA' },
  'store-svid': { summary: "it is put into an agent's SVID store" },
  'disable-x509-svid-prefetch': { summary: 'its X.509-SVIDs are made when a workload asks, not before' },
  'jwt-svid-include-jti': { summary: 'its JWT-SVIDs carry a jti claim, unique for each token' },
  'jwt-claims': { value: 'JSON', summary: 'claims that its JWT-SVIDs carry besides the registered ones; {} removes them' },
  namespace: { value: 'NAME', summary: 'the namespace that policies know the workload by; goes with --service-account' },
  'service-account': { value: 'NAME', summary: 'the service account that policies know the workload by' },
  'expires-at': { value: 'TIME', summary: 'when the entry itself ends, as RFC 3339 or seconds since 1970' },
};

/** Registration entries: which workload gets which identity. */
export const ENTRY_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['entry', 'create'],
    summary: 'Register a workload',
    options: {
      ...FIELDS,
      'entry-id': { value: 'ID', summary: 'an ID of your own for the entry; made up unless given' },
      node: { summary: 'this entry names a group of nodes: its parent is the CA and its selectors are those of agents' },
      data: { value: 'FILE', summary: 'create every entry of a YAML or JSON file ({entries: […]}); - reads standard input' },
      ...CA_OPTIONS,
      ...OUTPUT_OPTION,
    },
    examples: [
      'countersign entry create --spiffe-id spiffe://example.org/web --parent-id spiffe://example.org/spire/agent/join_token/TOKEN --selector unix:uid:1000',
      'countersign entry create --data entries.yaml',
    ],
    load: async () => (await import('../run/entry.ts')).createEntries,
  },
  {
    path: ['entry', 'update'],
    summary: 'Change an entry; only the options that are given change it',
    options: { 'entry-id': { value: 'ID', summary: 'the entry', required: true }, ...FIELDS, ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: [
      'countersign entry update --entry-id 9d0b5a1e --x509-svid-ttl 30m',
      'countersign entry update --entry-id 9d0b5a1e --no-admin',
    ],
    load: async () => (await import('../run/entry.ts')).updateEntry,
  },
  {
    path: ['entry', 'delete'],
    summary: 'Delete entries',
    positionals: '[ID…]',
    positionalOption: 'entry-id',
    options: { 'entry-id': { value: 'ID', summary: 'the entry', multiple: true, required: true }, ...CA_OPTIONS },
    examples: ['countersign entry delete --entry-id 9d0b5a1e'],
    load: async () => (await import('../run/entry.ts')).deleteEntries,
  },
  {
    path: ['entry', 'show'],
    summary: 'Show entries, all or those that match',
    positionals: '[ID]',
    positionalOption: 'entry-id',
    options: {
      'entry-id': { value: 'ID', summary: 'only this entry' },
      'spiffe-id': { value: 'ID', summary: 'only with this identity' },
      'parent-id': { value: 'ID', summary: 'only with this parent' },
      selector: { value: 'TYPE:VALUE', summary: 'only with all these selectors and perhaps more', multiple: true },
      'federates-with': {
        value: 'TRUST_DOMAIN',
        summary: 'only those that federate with all these and perhaps more',
        multiple: true,
      },
      hint: { value: 'TEXT', summary: 'only with this hint' },
      downstream: { summary: 'only downstream entries' },
      ...CA_OPTIONS,
      ...OUTPUT_OPTION,
    },
    examples: ['countersign entry show', 'countersign entry show --selector unix:uid:1000 --output json'],
    load: async () => (await import('../run/entry.ts')).showEntries,
  },
  {
    path: ['entry', 'count'],
    summary: 'Count entries',
    options: CA_OPTIONS,
    examples: ['countersign entry count'],
    load: async () => (await import('../run/entry.ts')).countEntries,
  },
];
