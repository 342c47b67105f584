import { isIdentityError } from '../../core/errors.ts';
import { spiffeIdTest } from '../../policy/match/spiffe-id-pattern.ts';
import type { Policy } from '../../policy/policy.ts';
import { decodePolicy } from '../../policy/wire-policy.ts';
import { namespaceOfEntry } from '../entry-metadata.ts';
import { isNodeAlias } from '../model.ts';
import type { Entry, PolicyResource } from '../model.ts';

/** Whose workloads a policy resource may be about. */
export type Concern =
  | { readonly kind: 'everyone' }
  /** Those with a workload of one of these namespaces. */
  | { readonly kind: 'namespaces'; readonly names: readonly string[] }
  /** Those with an entry that passes. */
  | { readonly kind: 'entries'; readonly test: (entry: Entry) => boolean };

const EVERYONE: Concern = { kind: 'everyone' };

/** What a policy resource is about, as far as registrations tell. Labels of pods they do not tell. */
export function concernOf(policy: PolicyResource): Concern {
  if (policy.kind !== 'ClusterAuthorizationPolicy') return { kind: 'namespaces', names: [policy.namespace] };
  const { namespaceSelector, namespaces, spiffeIDs } = readOrNothing(policy);
  // Where nobody has found the namespaces yet, it may be any.
  const names = namespaceSelector === undefined ? undefined : namespaces;
  if (spiffeIDs === undefined) return names === undefined ? EVERYONE : { kind: 'namespaces', names };
  const tests = spiffeIDs.map(spiffeIdTest);
  const among = names === undefined ? undefined : new Set(names);
  return {
    kind: 'entries',
    test: (entry) => {
      if (isNodeAlias(entry) || !tests.some((test) => test(entry.spiffeId))) return false;
      return among === undefined || among.has(namespaceOfEntry(entry));
    },
  };
}

/** What an earlier release stored may not be read any more; then nobody knows what it is about. */
function readOrNothing({ document }: PolicyResource): Partial<Policy> {
  try {
    return decodePolicy(document);
  } catch (error) {
    if (isIdentityError(error)) return {};
    throw error;
  }
}
