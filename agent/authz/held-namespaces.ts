import type { AgentEntry } from '../cache/identities.ts';

/**
 * The namespaces whose policies a CA delivers to an agent with these entries; `all`, which it delivers, as soon as one of the workloads may be in any.
 */
export function heldNamespaces(entries: Iterable<AgentEntry>): ReadonlySet<string> | 'all' {
  const namespaces = new Set<string>();
  for (const { workload } of entries) {
    if (workload?.namespace === undefined) return 'all';
    namespaces.add(workload.namespace);
  }
  return namespaces;
}

/** Whether there is policy for the workloads of a namespace; an absent one stands for a workload that may be in any. */
export function isHeld(keptFor: ReadonlySet<string> | 'all' | undefined, namespace: string | undefined): boolean {
  return keptFor === undefined || keptFor === 'all' || (namespace !== undefined && keptFor.has(namespace));
}
