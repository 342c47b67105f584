import { namespaceOfKey } from './policies.ts';
import type { Policies, RevisedPolicy } from './policies.ts';

/** Which policies an agent has: cluster-wide ones, and those of some namespaces. */
export interface PolicyScope {
  /** Those of all namespaces: it has a workload that may be in any of them. */
  readonly all: boolean;
  readonly namespaces: ReadonlySet<string>;
}

/** Of an agent without entries. */
export const EMPTY_SCOPE: PolicyScope = { all: false, namespaces: new Set() };

/** The scope of an agent whose entries are of these namespaces; the empty text stands for an entry that says none. */
export function scopeOf(namespaces: ReadonlySet<string>): PolicyScope {
  return { all: namespaces.has(''), namespaces };
}

/** Whether policies of a namespace are in a scope. */
export function isInScope({ all, namespaces }: PolicyScope, namespace: string): boolean {
  return all || namespace === '' || namespaces.has(namespace);
}

/** What an agent has to put and to forget to have the policies of a scope. */
export interface PolicyGap {
  readonly put: readonly RevisedPolicy[];
  /** Keys; may name what the agent never had. */
  readonly removed: readonly string[];
}

/** All policies of a scope. */
export function policiesIn(policies: Policies, scope: PolicyScope): readonly RevisedPolicy[] {
  if (scope.all) return [...policies.records()];
  return ['', ...scope.namespaces].flatMap((namespace) => [...policies.inNamespace(namespace)]);
}

/** Where an agent comes from: what it surely had, and what it can have had. The same where that is known. */
export interface FormerScope {
  /** Keys of the policies that changed or went since. */
  readonly changed: Iterable<string>;
  readonly surely: PolicyScope;
  readonly possibly: PolicyScope;
}

/** What an agent lacks that had the policies of another scope, as they were then. Looks at what changed, came and went only. */
export function findPolicyGap(policies: Policies, scope: PolicyScope, { changed, surely, possibly }: FormerScope): PolicyGap {
  const put = new Set<RevisedPolicy>();
  const removed = new Set<string>();
  for (const key of changed) {
    const record = policies.record(key);
    const namespace = namespaceOfKey(key);
    if (record !== undefined && isInScope(scope, namespace)) put.add(record);
    else if (isInScope(possibly, namespace)) removed.add(key);
  }
  if (scope === surely && scope === possibly) return { put: [...put], removed: [...removed] };
  for (const namespace of namespacesOf(policies, scope)) {
    if (isInScope(surely, namespace)) continue;
    for (const record of policies.inNamespace(namespace)) put.add(record);
  }
  for (const namespace of namespacesOf(policies, possibly)) {
    if (isInScope(scope, namespace)) continue;
    for (const record of policies.inNamespace(namespace)) removed.add(record.key);
  }
  return { put: [...put], removed: [...removed] };
}

function namespacesOf(policies: Policies, { all, namespaces }: PolicyScope): Iterable<string> {
  return all ? policies.namespaces : namespaces;
}
