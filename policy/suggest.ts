import { IdentityError } from '../core/errors.ts';
import type { Destination } from './model.ts';
import { parsePolicy } from './parse-policy.ts';
import type { RecordedCall } from './simulate.ts';
import { inParts, isSayable, rulesFor } from './suggested-rules.ts';
import type { SuggestedRule } from './suggested-rules.ts';

/** A resource as it is written to a file. */
export type SuggestedPolicy = Readonly<Record<string, unknown>>;

/** Policies, and what they do not cover. */
export interface Suggestion {
  readonly policies: readonly SuggestedPolicy[];
  /**
   * Calls of callers without an identity, to destinations without a name, whose method or path was not recorded, or that no policy can say: no narrow
   * policy names them.
   */
  readonly left: readonly RecordedCall[];
}

/**
 * The narrowest policies that allow the recorded calls: for each destination, its callers by their exact SPIFFE IDs, with methods, ports, hosts
 * and paths as they were recorded, segments that look like identifiers as variables. What is too much for one policy becomes several.
 * Calls that were denied are left out.
 *
 * @example
 * const { policies } = suggest(calls); // [{ kind: 'AuthorizationPolicy', … }]
 */
export function suggest(calls: Iterable<RecordedCall>): Suggestion {
  const wanted = [...calls].filter(({ observed }) => observed !== 'deny');
  const groups = Map.groupBy(wanted, ({ call }) => (isSayable(call) ? targetKey(call.destination) : ''));
  const left = [...(groups.get('') ?? [])];
  groups.delete('');
  const names = new Set<string>();
  const policies = [...groups]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .flatMap(([, recorded]) => policiesOf(recorded, { names, left }));
  return { policies, left };
}

function targetKey({ namespace, serviceAccount, spiffeId }: Destination): string {
  if (namespace !== undefined && serviceAccount !== undefined) return `${namespace}/${serviceAccount}`;
  return spiffeId?.toString() ?? '';
}

const MOST_RULES = 64;
const MOST_CHARACTERS = 400_000;

interface Context {
  /** Names that are taken. */
  readonly names: Set<string>;
  readonly left: RecordedCall[];
}

/** The policies for one destination; none where one of them cannot be read, since what it lacks would be cut off. */
function policiesOf(calls: readonly RecordedCall[], { names, left }: Context): readonly SuggestedPolicy[] {
  const [first] = calls;
  if (first === undefined) return [];
  const { rules, left: unsaid } = rulesFor(calls);
  const made = inParts(rules, MOST_RULES, MOST_CHARACTERS).map((part) => policyOf(first.call.destination, part, names));
  const isRead = made.every(isReadable);
  left.push(...(isRead ? unsaid : calls));
  return isRead ? made : [];
}

function isReadable(policy: SuggestedPolicy): boolean {
  try {
    parsePolicy(policy);
    return true;
  } catch (error) {
    if (error instanceof IdentityError) return false;
    throw error;
  }
}

function policyOf(
  { namespace, serviceAccount, spiffeId }: Destination,
  rules: readonly SuggestedRule[],
  names: Set<string>,
): SuggestedPolicy {
  const apiVersion = 'countersign.dev/v1alpha1';
  if (namespace !== undefined && serviceAccount !== undefined) {
    const name = freeName(namespace, serviceAccount, names);
    const spec = { targetRefs: [{ kind: 'ServiceAccount', name: serviceAccount }], action: 'ALLOW', rules };
    return { apiVersion, kind: 'AuthorizationPolicy', metadata: { name, namespace }, spec };
  }
  const path = (spiffeId?.path ?? '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  const name = freeName('', path === '' ? 'workload' : path, names);
  const spec = { spiffeIDs: [spiffeId?.toString()], action: 'ALLOW', rules };
  return { apiVersion, kind: 'ClusterAuthorizationPolicy', metadata: { name }, spec };
}

/** With a number where there is one of that name already: of the same destination, or of another trust domain. */
function freeName(namespace: string, about: string, names: Set<string>): string {
  const base = `${about.slice(0, 200)}-callers`;
  let name = base;
  for (let number = 2; names.has(`${namespace}/${name}`); number += 1) name = `${base}-${number}`;
  names.add(`${namespace}/${name}`);
  return name;
}
