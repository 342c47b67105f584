import type { Fault } from '../core/decode.ts';
import { IdentityError } from '../core/errors.ts';
import { parseDnsLabel } from '../runtime/kubernetes/names.ts';

/** Below which path the identities of a namespace lie; `{namespace}` stands for its name. */
export interface WorkloadIdentityPaths {
  readonly path: string;
  readonly paths: Readonly<Record<string, string>>;
}

const PLACEHOLDER = '{namespace}';
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';

/** The path below which the identities of a namespace lie, such as `/ns/payments`. */
export function namespacePathOf({ path, paths }: WorkloadIdentityPaths, namespace: string): string {
  const own = Object.hasOwn(paths, namespace) ? paths[namespace] : undefined;
  return (own ?? path).replaceAll(PLACEHOLDER, namespace);
}

/** What is wrong with paths: no two namespaces may have one, and none may lie in another's. */
export function pathFaults(given: WorkloadIdentityPaths): readonly Fault[] {
  if (!given.path.includes(PLACEHOLDER)) {
    return [{ path: 'path', message: 'must hold {namespace}: all namespaces would share it' }];
  }
  const faults: Fault[] = [];
  const before: string[] = [];
  for (const namespace of Object.keys(given.paths)) {
    const reason = nameFault(namespace) ?? overlapOf(namespace, given, before);
    if (reason !== undefined) faults.push({ path: `paths.${namespace}`, message: reason });
    before.push(namespace);
  }
  return faults;
}

function nameFault(namespace: string): string | undefined {
  try {
    parseDnsLabel(namespace);
    return undefined;
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    return error.message;
  }
}

function overlapOf(namespace: string, given: WorkloadIdentityPaths, before: readonly string[]): string | undefined {
  const own = namespacePathOf(given, namespace);
  for (const other of before) {
    const its = namespacePathOf(given, other);
    if (contains(own, its) || contains(its, own)) return `${own} and ${its}, the path of namespace ${other}, overlap`;
  }
  const owner = defaultOwnerOf(own, given.path);
  if (owner === undefined || owner === namespace || Object.hasOwn(given.paths, owner)) return undefined;
  const whose = owner === '' ? 'of the other namespaces' : `of namespace ${owner}`;
  return `${own} overlaps the path ${whose}, which is ${given.path}`;
}

function contains(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(`${outer}/`);
}

/** The namespace whose default path a path contains or lies in: empty when it is every one's, undefined when it is no one's. */
function defaultOwnerOf(path: string, pattern: string): string | undefined {
  const segments = path.split('/');
  const patterns = pattern.split('/');
  const length = Math.min(segments.length, patterns.length);
  const expression = patterns.slice(0, length).join('/').replaceAll('.', '\\.');
  const [first, ...rest] = expression.split(PLACEHOLDER);
  const named = rest.length === 0 ? first : `${first}(${LABEL})${rest.join('\\1')}`;
  const found = new RegExp(`^${named}$`).exec(segments.slice(0, length).join('/'));
  return found === null ? undefined : (found[1] ?? '');
}
