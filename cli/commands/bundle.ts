import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';

const FORMAT: Readonly<Record<'format', OptionSpec>> = {
  format: {
    value: 'pem|spiffe',
    summary: 'X.509 authorities as PEM, or the whole bundle as a SPIFFE bundle document; pem unless given',
  },
};

/** Trust bundles: our own and those of federated trust domains. */
export const BUNDLE_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['bundle', 'show'],
    summary: "Print this trust domain's bundle",
    options: { ...FORMAT, ...CA_OPTIONS },
    examples: ['countersign bundle show > bundle.pem', 'countersign bundle show --format spiffe'],
    load: async () => (await import('../run/bundle.ts')).showBundle,
  },
  {
    path: ['bundle', 'list'],
    summary: 'Print the bundles of federated trust domains',
    options: { 'trust-domain': { value: 'NAME', summary: 'only this one' }, ...FORMAT, ...CA_OPTIONS },
    examples: ['countersign bundle list', 'countersign bundle list --trust-domain other.org --format spiffe'],
    load: async () => (await import('../run/bundle.ts')).listBundles,
  },
  {
    path: ['bundle', 'set'],
    summary: 'Create or replace the bundle of a federated trust domain',
    options: {
      'trust-domain': { value: 'NAME', summary: 'whose bundle it is', required: true },
      file: { value: 'FILE', summary: 'the bundle; standard input unless given' },
      ...FORMAT,
      ...CA_OPTIONS,
    },
    examples: ['countersign bundle set --trust-domain other.org --format spiffe --file other.json'],
    load: async () => (await import('../run/bundle.ts')).setBundle,
  },
  {
    path: ['bundle', 'delete'],
    summary: 'Delete the bundle of a federated trust domain',
    options: {
      'trust-domain': { value: 'NAME', summary: 'whose bundle it is', required: true },
      mode: {
        value: 'restrict|delete|dissociate',
        summary: 'what becomes of entries that federate with it; restrict refuses when there are any',
      },
      ...CA_OPTIONS,
    },
    examples: ['countersign bundle delete --trust-domain other.org --mode dissociate'],
    load: async () => (await import('../run/bundle.ts')).deleteBundle,
  },
];
