import { usage, type CommandRun, type CommandSpec } from '../command.ts';
import { formatCompletion, SHELLS } from '../completion.ts';

/** `countersign completion SHELL`, for these commands. */
export function completion(commands: readonly CommandSpec[]): CommandRun {
  return async (invocation) => {
    const [name] = invocation.arguments(1);
    const shell = SHELLS.find((known) => known === name);
    if (shell === undefined) throw usage(invocation.command, `"${name}" is no known shell; use one of ${SHELLS.join(', ')}`);
    invocation.terminal.write(formatCompletion(shell, commands));
    return 0;
  };
}
