import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { OWN_DEFINITIONS, POLICY_DEFINITIONS } from '../../crds/index.ts';
import { firstLines } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { compile, type CompileOptions, type Snapshot } from '../../policy/compile/snapshot.ts';
import { expressionFaults } from '../../policy/expression-faults.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import type { DefaultAction } from '../../policy/model.ts';
import { policyKey, type Policy } from '../../policy/policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { matches } from '../../policy/schema/label-selector.ts';
import { usage, type Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { documentsOf } from './yaml-documents.ts';

const FILE = /\.(ya?ml|json)$/;
const OURS = /^countersign\.dev\//;
/** As elsewhere: `-` stands for standard input. */
const INPUT = '-';
const STANDARD_INPUT = 'standard input';
const OUR_KINDS = [...POLICY_DEFINITIONS, ...OWN_DEFINITIONS].map(({ type }) => type.kind);

interface Placed {
  readonly file: string;
  readonly object: object;
}

/**
 * Reads the policies of files, of the YAML and JSON files in folders and those below, and of standard input (`-`). Documents of other groups
 * are passed over; labels of `Namespace` objects among them answer the namespace selectors.
 *
 * @throws IdentityError `invalid_argument` that names the file and every faulty field
 */
export async function readPolicies(invocation: Invocation, paths: readonly string[]): Promise<readonly Policy[]> {
  return (await readResources(invocation, paths)).policies;
}

/** What files declare. */
export interface DeclaredResources {
  readonly policies: readonly Policy[];
  readonly authentications: readonly RequestAuthentication[];
  /** Where each policy stands, by its key. */
  readonly fileOf: (policy: Policy) => string;
}

/**
 * As {@link readPolicies}, with each RequestAuthentication too.
 *
 * @throws IdentityError `invalid_argument` that names the file and every faulty field
 */
export async function readResources(invocation: Invocation, paths: readonly string[]): Promise<DeclaredResources> {
  const placed: Placed[] = [];
  for (const path of paths) {
    const files = path === INPUT ? [] : await filesOf(resolve(invocation.terminal.cwd, path), path);
    const own = path === INPUT ? await objectsOfInput(invocation) : (await Promise.all(files.map(objectsOf))).flat();
    own.forEach(requireKnownKind);
    if ((path === INPUT || files[0]?.shown === path) && !own.some(isPolicy) && !own.some(isAuthentication)) {
      const what = path === INPUT ? STANDARD_INPUT : path;
      throw new IdentityError('invalid_argument', `${what} holds no AuthorizationPolicy and no ClusterAuthorizationPolicy`);
    }
    placed.push(...own);
  }
  const namespaces = placed.map(({ object }) => object).filter((object) => Reflect.get(object, 'kind') === 'Namespace');
  const authentications = placed.filter(isAuthentication);
  const read = authentications.map(({ file, object }) => named(file, object, () => parseRequestAuthentication(object)));
  const found = distinct(placed.filter(isPolicy));
  return {
    policies: [...found.values()].map(({ policy }) => resolved(policy, namespaces)),
    authentications: read,
    fileOf: ({ name }) => found.get(policyKey(name))?.file ?? '',
  };
}

/** Compiles policies. Faults of expressions are told on standard error. */
export function snapshotOf(invocation: Invocation, policies: readonly Policy[], options: CompileOptions): Snapshot {
  const snapshot = compile(policies, options);
  warn(invocation, snapshot);
  return snapshot;
}

/**
 * Whether all expressions of declared policies compile.
 *
 * @throws IdentityError `invalid_argument` that names file, policy, field and reason of each that does not
 */
export async function requireCompiles({ policies, fileOf }: DeclaredResources): Promise<void> {
  const found = await Promise.all(
    policies.map(async (policy) => {
      const faults = (await expressionFaults(policy)).map(({ path, message }) => `${path}: ${message}`);
      return faults.length === 0 ? [] : [`${fileOf(policy)}, ${policy.name.kind} ${policy.name.name}:`, ...faults];
    }),
  );
  const lines = found.flat();
  if (lines.length > 0) throw new IdentityError('invalid_argument', firstLines(lines));
}

/** What `--default` says, if anything. @throws IdentityError `invalid_argument` */
export function defaultOf(invocation: Invocation): DefaultAction | undefined {
  const text = invocation.text('default');
  if (text === undefined || text === 'audit' || text === 'allow' || text === 'deny') return text;
  throw usage(invocation.command, `--default ${text} is unknown; use audit, allow or deny`);
}

/** Says on standard error what of the policies could not be compiled. */
export function warn({ terminal }: Invocation, snapshot: Snapshot): void {
  for (const { key, problems } of snapshot.policies.values()) {
    for (const { path, message } of problems) terminal.writeError(`${key}: ${path}: ${message}\n`);
  }
}

interface NamedFile {
  readonly path: string;
  /** As the user wrote it. */
  readonly shown: string;
}

async function filesOf(path: string, shown: string): Promise<readonly NamedFile[]> {
  const about = await stat(path).catch((cause: unknown) => {
    throw new IdentityError('invalid_argument', `cannot read ${shown}; --policies takes files and folders`, { cause });
  });
  if (!about.isDirectory()) return [{ path, shown }];
  const names = await readdir(path, { recursive: true });
  return names
    .filter((name) => FILE.test(name))
    .sort()
    .map((name) => ({ path: join(path, name), shown: join(shown, name) }));
}

async function objectsOf({ path, shown }: NamedFile): Promise<readonly Placed[]> {
  return placedIn(shown, await readFile(path, 'utf8'));
}

async function objectsOfInput(invocation: Invocation): Promise<readonly Placed[]> {
  return placedIn(STANDARD_INPUT, await readFileOrInput(invocation, INPUT));
}

async function placedIn(file: string, text: string): Promise<readonly Placed[]> {
  return (await documentsOf(text, file)).map((object) => ({ file, object }));
}

/** A misspelt kind that is passed over would be a policy that nobody notices is missing. */
function requireKnownKind({ file, object }: Placed): void {
  const version: unknown = Reflect.get(object, 'apiVersion');
  const kind: unknown = Reflect.get(object, 'kind');
  if (typeof version !== 'string' || !OURS.test(version) || OUR_KINDS.some((each) => each === kind)) return;
  const what = typeof kind === 'string' ? `"${kind}" is no kind` : 'a document has no kind';
  throw new IdentityError('invalid_argument', `${file}: ${what} of ${version}; there are ${OUR_KINDS.join(', ')}`);
}

function isPolicy({ object }: Placed): boolean {
  const kind: unknown = Reflect.get(object, 'kind');
  const version: unknown = Reflect.get(object, 'apiVersion');
  const isOurs = version === undefined || (typeof version === 'string' && OURS.test(version));
  return isOurs && (kind === 'AuthorizationPolicy' || kind === 'ClusterAuthorizationPolicy');
}

function isAuthentication({ object }: Placed): boolean {
  return Reflect.get(object, 'kind') === 'RequestAuthentication' && OURS.test(String(Reflect.get(object, 'apiVersion')));
}

interface Found {
  readonly policy: Policy;
  readonly file: string;
}

function distinct(placed: readonly Placed[]): ReadonlyMap<string, Found> {
  const byKey = new Map<string, Found>();
  for (const { file, object } of placed) {
    const policy = named(file, object, () => parsePolicy(object));
    const key = policyKey(policy.name);
    const earlier = byKey.get(key);
    if (earlier !== undefined) {
      throw new IdentityError('invalid_argument', `${key} stands in ${earlier.file} and in ${file}; keep one of them`);
    }
    byKey.set(key, { policy, file });
  }
  return byKey;
}

function named<T>(file: string, object: object, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof IdentityError)) throw cause;
    const metadata: unknown = Reflect.get(object, 'metadata');
    const name: unknown = typeof metadata === 'object' && metadata !== null ? Reflect.get(metadata, 'name') : undefined;
    const where = typeof name === 'string' ? `${file}, ${String(Reflect.get(object, 'kind'))} ${name}` : file;
    throw new IdentityError('invalid_argument', `${where}:\n${cause.message}`, { cause });
  }
}

function resolved(policy: Policy, namespaces: readonly object[]): Policy {
  const { namespaceSelector } = policy;
  if (namespaceSelector === undefined || namespaces.length === 0) return policy;
  const labelled = namespaces.map((object) => {
    // The cast is sound for what is used of it: whatever is missing is replaced.
    const { metadata } = object as { metadata?: { name?: string; labels?: Record<string, string> } };
    return { name: metadata?.name ?? '', labels: metadata?.labels ?? {} };
  });
  return { ...policy, namespaces: labelled.filter(({ labels }) => matches(namespaceSelector, labels)).map(({ name }) => name) };
}
