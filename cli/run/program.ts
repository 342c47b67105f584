import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { X509Source } from '../../client/x509-source.ts';
import { IdentityError } from '../../core/errors.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { writeSvidFiles, type SvidFiles } from '../svid-files.ts';
import { workloadAddress } from '../workload-address.ts';

/** `countersign run -- CMD`: the program's exit code becomes ours; 128 plus the signal's number when a signal ended it. */
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
  const files = await writeSvidFiles(folder.path, source.value);
  const child = spawn(file, args, { stdio: 'inherit', env: { ...terminal.environment, ...environmentOf(files, address) } });
  const ended = exitCodeOf(child);
  const forward = (): void => void child.kill('SIGTERM');
  terminal.signal.addEventListener('abort', forward, { once: true });
  let written: Promise<unknown> = Promise.resolve();
  const unsubscribe = source.subscribe((context) => {
    written = written
      .then(() => writeSvidFiles(folder.path, context))
      .then(() => signal !== undefined && child.kill(signal))
      .catch((error: unknown) => terminal.writeError(`countersign run: cannot write the new SVID (${String(error)})\n`));
  });
  try {
    return await ended;
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

function exitCodeOf(child: ChildProcess): Promise<number> {
  return new Promise((resolveCode, reject) => {
    child.once('error', (error) => reject(notRunnable(error)));
    child.once('exit', (code, signal) => resolveCode(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}

function notRunnable(cause: Error): IdentityError {
  return new IdentityError('not_found', `cannot run the program (${cause.message}); give its path, or a name on the PATH`, {
    cause,
  });
}
