import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const KIND: Readonly<Record<'kind', OptionSpec>> = {
  kind: { value: 'x509|jwt|wit', summary: 'which kind of authority', required: true },
};
const AUTHORITY: Readonly<Record<'authority-id', OptionSpec>> = {
  'authority-id': { value: 'ID', summary: 'the authority, as authority show prints it', required: true },
};

/** The life cycle of the signing authorities. */
export const AUTHORITY_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['authority', 'show'],
    summary: 'Show the active, prepared and old authorities of this CA',
    options: { kind: { value: 'x509|jwt|wit', summary: 'only this kind' }, ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: ['countersign authority show', 'countersign authority show --kind x509 --output json'],
    load: async () => (await import('../run/authority.ts')).showAuthorities,
  },
  ...(['prepare', 'activate', 'taint', 'revoke'] as const).map((step) => ({
    path: ['authority', step],
    summary: {
      prepare: 'Make the next authority and publish its key, so that it can be activated later',
      activate: 'Sign with the prepared authority from now on',
      taint: 'Declare an old authority unsafe: all that it signed is replaced now',
      revoke: 'Remove a tainted authority from the bundle: nothing that it signed is trusted any more',
    }[step],
    options: { ...KIND, ...(step === 'prepare' ? {} : AUTHORITY), ...CA_OPTIONS, ...OUTPUT_OPTION },
    examples: [`countersign authority ${step} --kind x509${step === 'prepare' ? '' : ' --authority-id 5f3c…'}`],
    load: async () => (await import('../run/authority.ts')).changeAuthority(step),
  })),
];
