import type { CommandSpec } from './command.ts';
import { AUTHORITY_COMMANDS } from './commands/authority.ts';
import { BUNDLE_COMMANDS } from './commands/bundle.ts';
import { CHECK_COMMANDS } from './commands/check.ts';
import { ENTRY_COMMANDS } from './commands/entry.ts';
import { FEDERATION_COMMANDS } from './commands/federation.ts';
import { MIGRATE_COMMANDS } from './commands/migrate.ts';
import { NODE_COMMANDS } from './commands/node.ts';
import { POLICY_COMMANDS } from './commands/policy.ts';
import { PROCESS_COMMANDS } from './commands/process.ts';
import { SVID_COMMANDS } from './commands/svid.ts';
import { WORKLOAD_COMMANDS } from './commands/workload.ts';

/** Every command of `countersign`, in the order in which help lists them. */
export const COMMANDS: readonly CommandSpec[] = [
  ...PROCESS_COMMANDS,
  ...CHECK_COMMANDS,
  ...NODE_COMMANDS,
  ...ENTRY_COMMANDS,
  ...BUNDLE_COMMANDS,
  ...FEDERATION_COMMANDS,
  ...AUTHORITY_COMMANDS,
  ...SVID_COMMANDS,
  ...WORKLOAD_COMMANDS,
  ...POLICY_COMMANDS,
  ...MIGRATE_COMMANDS,
  {
    path: ['completion'],
    summary: 'Print a completion script for a shell',
    positionals: 'bash|zsh|fish',
    options: {},
    examples: [
      'source <(countersign completion bash)',
      'countersign completion fish > ~/.config/fish/completions/countersign.fish',
    ],
    load: async () => (await import('./run/completion.ts')).completion(COMMANDS),
  },
];
