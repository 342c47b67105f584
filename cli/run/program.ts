import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { X509Source } from '../../client/x509-source.ts';
import { usage, type CommandRun, type Invocation, type Terminal } from '../command.ts';
import { isSameSvid, svidFileContents, writeSvidFiles, type SvidFiles } from '../svid-files.ts';
import { workloadAddress } from '../workload-address.ts';

/**
 * `countersign run -- CMD`: the program's exit code becomes ours; 128 plus the signal's number when a signal ended it. As with
 * a shell, 127 says that there is no such program and 126 that it cannot be run.
 */
export const runProgram: CommandRun = async (invocation) => {
  const [file, ...args] = invocation.rest.length > 0 ? invocation.rest : invocation.positionals;
  if (file === undefined) throw usage(invocation.command, 'a program to run is missing; write it after --');
  const signal = rotationSignal(invocation);
  const { terminal } = invocation;
  const address = workloadAddress(invocation);
  await using source = await X509Source.open({
    address,
    signal: terminal.signal,
    onError: (error) => terminal.writeError(`countersign run: ${error.message}; trying again\n`),
  });
  await using folder = await openFolder(invocation);
  const first = source.value;
  const files = await writeSvidFiles(folder.path, first);
  const child = start(file, args, { ...terminal.environment, ...environmentOf(files, address) });
  if (child instanceof Error) return reportNotRunnable(terminal, child);
  const ended = exitCodeOf(child);
  const forward = (): void => void child.kill('SIGTERM');
  terminal.signal.addEventListener('abort', forward, { once: true });
  let written: Promise<unknown> = Promise.resolve();
  let last = svidFileContents(first);
  const unsubscribe = source.subscribe((context) => {
    written = written
      .then(async () => {
        const contents = svidFileContents(context);
        // Another SVID of this process may have changed, which is in no file.
        if (isSameSvid(contents, last)) return;
        await writeSvidFiles(folder.path, context);
        last = contents;
        if (signal !== undefined) child.kill(signal);
      })
      .catch((error: unknown) => terminal.writeError(`countersign run: cannot write the new SVID (${String(error)})\n`));
  });
  try {
    const end = await ended;
    return end instanceof Error ? reportNotRunnable(terminal, end) : end;
  } finally {
    unsubscribe();
    await written;
  }
};

function rotationSignal(invocation: Invocation): NodeJS.Signals | undefined {
  const name = invocation.text('signal');
  if (name === undefined) return undefined;
  const full = name.startsWith('SIG') ? name : `SIG${name}`;
  if (!(full in constants.signals))
    throw usage(invocation.command, `--signal ${name} is no signal; use SIGHUP or SIGUSR1, for example`);
  // The cast is sound: the name is a key of the system's own table.
  return full as NodeJS.Signals;
}

function environmentOf(files: SvidFiles, address: string): Record<string, string> {
  return {
    SPIFFE_ENDPOINT_SOCKET: address,
    COUNTERSIGN_SVID_FILE: files.svid,
    COUNTERSIGN_KEY_FILE: files.key,
    COUNTERSIGN_BUNDLE_FILE: files.bundle,
  };
}

async function openFolder(invocation: Invocation): Promise<AsyncDisposable & { readonly path: string }> {
  const given = invocation.text('dir');
  if (given !== undefined) return { path: resolve(invocation.terminal.cwd, given), [Symbol.asyncDispose]: async () => {} };
  const path = await mkdtemp(join(tmpdir(), 'countersign-svid-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

// Some reasons are thrown at once (a path through a file, too many arguments), others come as an event.
function start(file: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess | Error {
  try {
    return spawn(file, args, { stdio: 'inherit', env });
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
}

/** The exit code, or why the program could not be started. */
function exitCodeOf(child: ChildProcess): Promise<number | Error> {
  return new Promise((resolveEnd) => {
    child.once('error', resolveEnd);
    child.once('exit', (code, signal) => resolveEnd(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

function reportNotRunnable(terminal: Terminal, error: NodeJS.ErrnoException): number {
  const isMissing = error.code === 'ENOENT';
  const advice = isMissing ? 'give its path, or a name on the PATH' : 'is it an executable file?';
  terminal.writeError(`countersign run: cannot run the program (${error.message}); ${advice}\n`);
  return isMissing ? 127 : 126;
}
