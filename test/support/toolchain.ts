// Programs in other languages that tests need. Each is built once into a cache outside the tree, under a name that
// changes with its version or its source, and appears there whole or not at all: several suites may ask at once.
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, delimiter, join, relative, sep } from 'node:path';

const goModule = join(import.meta.dirname, '..', 'go');
const rustPackage = join(import.meta.dirname, '..', 'rust');
const mavenProject = join(import.meta.dirname, '..', 'java');
const underWay = new Map<string, Promise<string>>();

/** Where toolchain products live: `COUNTERSIGN_CACHE`, or `~/.cache/countersign`. */
export function cacheFolder(): string {
  return process.env['COUNTERSIGN_CACHE'] ?? join(homedir(), '.cache', 'countersign');
}

/**
 * Whether a command is on the PATH. A suite that needs one says so in its name and is skipped without it:
 *
 * @example describe.skipIf(!isInstalled('go'))('SPIRE API (needs go)', () => { … });
 */
export function isInstalled(command: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => isExecutable(join(folder, command)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Installs a published Go command with `go install`.
 *
 * @param packageAtVersion Such as `github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3`; the version must be exact.
 * @returns The binary's path.
 */
export async function goTool(packageAtVersion: string): Promise<string> {
  const [packagePath = '', version = ''] = packageAtVersion.split('@');
  if (!/^v\d/.test(version)) throw new Error(`goTool: "${packageAtVersion}" must end in an exact version, such as @v1.2.3`);
  return once(join(cacheFolder(), 'go', `${basename(packagePath)}-${shortHash(packageAtVersion)}`), async (target) => {
    const scratch = `${target}.${randomUUID()}`;
    await run('go', ['install', packageAtVersion], { env: { GOBIN: scratch } });
    const [binary = ''] = readdirSync(scratch);
    renameSync(join(scratch, binary), target);
    rmSync(scratch, { recursive: true });
  });
}

/**
 * Builds `test/go/cmd/<name>`. What it is built from is part of the binary's name, so a change is never missed.
 *
 * @returns The binary's path.
 */
export async function goProgram(name: string): Promise<string> {
  return once(join(cacheFolder(), 'go', `${name}-${hashOfFolder(goModule)}`), async (target) => {
    const scratch = `${target}.${randomUUID()}`;
    await run('go', ['build', '-trimpath', '-o', scratch, `./cmd/${name}`], { cwd: goModule });
    renameSync(scratch, target);
  });
}

/**
 * Builds `test/rust`, with the crates that its lock file pins.
 *
 * @returns The binary's path.
 */
export async function cargoProgram(): Promise<string> {
  return once(join(cacheFolder(), 'rust', `workload-${hashOfFolder(rustPackage)}`), async (target) => {
    const scratch = `${target}.${randomUUID()}`;
    await run('cargo', ['build', '--locked', '--quiet', '--target-dir', scratch], { cwd: rustPackage });
    renameSync(join(scratch, 'debug', 'workload'), target);
    rmSync(scratch, { recursive: true });
  });
}

/**
 * Compiles `test/java` and gathers the libraries that its `pom.xml` pins.
 *
 * @returns The class path.
 */
export async function mavenProgram(): Promise<string> {
  const folder = await once(join(cacheFolder(), 'java', `workload-${hashOfFolder(mavenProject)}`), async (target) => {
    const scratch = `${target}.${randomUUID()}`;
    const goals = ['compiler:compile', 'dependency:copy-dependencies', '-DincludeScope=runtime'];
    const places = [`-DbuildDirectory=${scratch}`, `-DoutputDirectory=${join(scratch, 'lib')}`];
    await run('mvn', ['--quiet', '--batch-mode', ...goals, ...places], { cwd: mavenProject });
    renameSync(scratch, target);
  });
  return `${join(folder, 'classes')}${delimiter}${join(folder, 'lib', '*')}`;
}

/**
 * Makes a Python environment with the packages.
 *
 * @param requirements Each with its exact version: `spiffe==0.2.2`.
 * @returns The path of its `python`; commands of the packages are beside it.
 */
export async function pythonVenv(requirements: readonly string[]): Promise<string> {
  const link = await once(join(cacheFolder(), 'python', shortHash(requirements.join('\n'))), async (target) => {
    // An environment cannot be moved, so it is finished under a name of its own and then linked.
    const folder = `${target}.${randomUUID()}`;
    await run('python3', ['-m', 'venv', folder]);
    await run(join(folder, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', ...requirements]);
    symlinkSync(basename(folder), `${folder}.link`);
    renameSync(`${folder}.link`, target);
  });
  return join(link, 'bin', 'python');
}

/** Makes `target` unless it is there, once in this process. Another process may make it as well; the last rename wins. */
async function once(target: string, make: (target: string) => Promise<void>): Promise<string> {
  if (existsSync(target)) return target;
  const known = underWay.get(target);
  if (known !== undefined) return known;
  mkdirSync(join(target, '..'), { recursive: true });
  const made = make(target).then(() => target);
  underWay.set(target, made);
  return made;
}

interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a build at low priority. Its output becomes the error's text when it fails. */
async function run(command: string, args: readonly string[], { cwd, env }: RunOptions = {}): Promise<void> {
  const child = spawn('nice', [command, ...args], { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on('error', reject).on('close', resolve);
  const code = await promise;
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${Buffer.concat(output).toString()}`);
}

/** Of every file but what was built in the folder by hand. */
function hashOfFolder(folder: string): string {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const built = join(folder, 'target', sep);
  const files = entries.map((entry) => join(entry.parentPath, entry.name)).filter((file) => !file.startsWith(built));
  files.sort();
  const hash = createHash('sha256');
  for (const file of files) hash.update(relative(folder, file)).update('\0').update(readFileSync(file)).update('\0');
  return hash.digest('hex').slice(0, 16);
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
