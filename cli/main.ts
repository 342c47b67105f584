#!/usr/bin/env node
import { isIdentityError } from '../core/errors.ts';
import { COMMANDS } from './commands.ts';
import { findCommand, parseInvocation, type Terminal } from './command.ts';
import { formatHelp, formatOverview } from './help.ts';
import { nearestCommand } from './suggestion.ts';

// Whoever reads our output may stop reading, as `| head` does: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  const terminal = openTerminal();
  try {
    return await runCommand(words, terminal);
  } catch (error) {
    if (terminal.signal.aborted) return 130;
    terminal.writeError(`${await describe(error)}\n`);
    return 1;
  }
}

async function runCommand(words: readonly string[], terminal: Terminal): Promise<number> {
  if (words[0] === '--version' || words[0] === 'version') {
    const { productVersion } = await import('../runtime/version.ts');
    terminal.write(`${productVersion()}\n`);
    return 0;
  }
  const command = findCommand(COMMANDS, words);
  if (command === undefined) return overview(words, terminal);
  const own = words.slice(command.path.length);
  const beforeRest = own.includes('--') ? own.slice(0, own.indexOf('--')) : own;
  if (beforeRest.includes('--help') || beforeRest.includes('-h')) {
    terminal.write(formatHelp(command));
    return 0;
  }
  const invocation = parseInvocation(command, own, terminal);
  const run = await command.load();
  return run(invocation);
}

function overview(words: readonly string[], terminal: Terminal): number {
  const [first] = words;
  const group = COMMANDS.filter(({ path }) => path[0] === first);
  const isHelp = (word: string | undefined): boolean => word === 'help' || word === '--help' || word === '-h';
  const asked = first === undefined || isHelp(first) || (group.length > 0 && isHelp(words[1]));
  const text = formatOverview(group.length > 0 ? group : COMMANDS);
  if (asked) {
    terminal.write(text);
    return 0;
  }
  const nearest = nearestCommand(COMMANDS, words);
  const hint = nearest === undefined ? `\n${text}` : `did you mean "countersign ${nearest}"? All of them: countersign --help\n`;
  terminal.writeError(`countersign: "${words.join(' ')}" is no command\n${hint}`);
  return 2;
}

/** What the user reads: the text of a known failure, or of an unknown one with its kind. */
async function describe(error: unknown): Promise<string> {
  if (isIdentityError(error)) return `${error.code}: ${error.message}`;
  const { toIdentityError } = await import('../runtime/grpc-client.ts');
  const known = error instanceof Error && error.name === 'ConnectError' ? toIdentityError(error) : undefined;
  if (known !== undefined) return `${known.code}: ${known.message}`;
  // A file that cannot be written, say: the system's own text names it, and a stack would help nobody.
  if (error instanceof Error && 'syscall' in error) return `failed_precondition: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function openTerminal(): Terminal {
  const interrupt = new AbortController();
  const { env } = process;
  // `npm run` moves to the package's folder; paths that the user writes are relative to where the user is.
  const cwd = (env['npm_lifecycle_event'] === 'countersign' ? env['INIT_CWD'] : undefined) ?? process.cwd();
  return {
    cwd,
    environment: env,
    write: (text) => void process.stdout.write(text),
    writeError: (text) => void process.stderr.write(text),
    get signal() {
      process.once('SIGINT', () => interrupt.abort()).once('SIGTERM', () => interrupt.abort());
      Object.defineProperty(this, 'signal', { value: interrupt.signal });
      return interrupt.signal;
    },
  };
}
