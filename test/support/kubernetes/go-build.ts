// Large Go programs of public modules, each built once into the cache: one process builds, the others wait for it.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { openKernel } from '../../../runtime/kernel.ts';

/** What {@link buildOnce} needs. */
export interface GoBuild {
  /** Where the binary shall be. It appears there whole or not at all. */
  readonly target: string;
  /** What progress lines call it. */
  readonly label: string;
  /** The files of the module to build in, `go.mod` among them. */
  readonly files: () => Promise<Readonly<Record<string, string>>>;
  /** The package: a path in the module, or one of a module that it requires. */
  readonly package: string;
  /** Values of string variables, stamped at link time. */
  readonly stamps?: Readonly<Record<string, string>>;
}

// A static binary, so that it runs in an image with nothing else; no go.sum beside a go.mod that is made by a program.
const ENVIRONMENT = { CGO_ENABLED: '0', GOFLAGS: '-mod=mod' };
const PROGRESS_MS = 30_000;

/** Builds the target unless it is there. Processes that ask for it at the same time wait for the one that builds. */
export async function buildOnce(build: GoBuild): Promise<string> {
  if (existsSync(build.target)) return build.target;
  mkdirSync(dirname(build.target), { recursive: true });
  const held = await lock(`${build.target}.lock`, build.label);
  try {
    if (!existsSync(build.target)) await compile(build);
  } finally {
    await held.close();
  }
  return build.target;
}

async function compile({ target, label, files, package: packagePath, stamps = {} }: GoBuild): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-go-'));
  const scratch = `${target}.${randomUUID()}`;
  try {
    for (const [name, content] of Object.entries(await files())) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    const flags = ['-s -w', ...Object.entries(stamps).map(([name, value]) => `-X ${name}=${value}`)];
    await runGo(['build', '-trimpath', '-ldflags', flags.join(' '), '-o', scratch, packagePath], folder, label);
    renameSync(scratch, target);
  } finally {
    rmSync(scratch, { force: true });
    rmSync(folder, { recursive: true });
  }
}

/**
 * Runs `go` at low priority; with a label, a line on stderr says every half minute that it still works.
 *
 * @returns Its standard output.
 * @throws Error with everything that it wrote to standard error
 */
export async function runGo(args: readonly string[], folder: string, label?: string): Promise<string> {
  const started = performance.now();
  const elapsed = (): string => `${Math.round((performance.now() - started) / 1000)} s`;
  const say = (text: string): void => void (label !== undefined && process.stderr.write(`${label}: ${text}\n`));
  say('building from its Go modules, once; minutes when nothing is cached…');
  const timer = setInterval(() => say(`still building, ${elapsed()}`), PROGRESS_MS);
  const child = spawn('nice', ['go', ...args], { cwd: folder, env: { ...process.env, ...ENVIRONMENT } });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const ended = Promise.withResolvers<number | null>();
  child.on('error', ended.reject).on('close', ended.resolve);
  const code = await ended.promise.finally(() => clearInterval(timer));
  if (code !== 0) throw new Error(`go ${args.join(' ')} ended with ${code}:\n${stderr.slice(-4000)}`);
  say(`built in ${elapsed()}`);
  return stdout;
}

/** Holds a file's lock until it is closed. The kernel gives it back when this process dies. */
async function lock(path: string, label: string): Promise<FileHandle> {
  const file = await open(path, 'w');
  for (let attempt = 0; !openKernel().tryLock(file.fd); attempt += 1) {
    if (attempt % 60 === 0) process.stderr.write(`${label}: another process builds it; waiting\n`);
    await sleep(500);
  }
  return file;
}
