import { usage, type CommandRun } from '../command.ts';
import { COMMANDS } from '../commands.ts';
import { formatCompletion, SHELLS } from '../completion.ts';

/** `countersign completion SHELL` */
export const completion: CommandRun = async (invocation) => {
  const [name] = invocation.arguments(1);
  const shell = SHELLS.find((known) => known === name);
  if (shell === undefined) throw usage(invocation.command, `"${name}" is no known shell; use one of ${SHELLS.join(', ')}`);
  invocation.terminal.write(formatCompletion(shell, COMMANDS));
  return 0;
};
