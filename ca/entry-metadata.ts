import { metadataOf } from '../policy/workload-metadata.ts';
import type { WorkloadMetadata } from '../policy/workload-metadata.ts';
import { selectorText } from './model.ts';
import type { Entry } from './model.ts';

/** What an entry says of its workload. Nothing, where it says nothing. */
export function metadataOfEntry({ workload, selectors }: Pick<Entry, 'workload' | 'selectors'>): WorkloadMetadata {
  return metadataOf(workload, kubernetesTexts(selectors));
}

/** The namespace that an entry says its workload is in; empty when it says none. */
export function namespaceOfEntry(entry: Pick<Entry, 'workload' | 'selectors'>): string {
  return metadataOfEntry(entry).namespace ?? '';
}

/** Whether an entry says neither namespace nor service account. */
export function saysNothing(entry: Pick<Entry, 'workload' | 'selectors'>): boolean {
  const { namespace, serviceAccount } = metadataOfEntry(entry);
  return namespace === undefined && serviceAccount === undefined;
}

/** Whether two states of an entry say the same of its workload. */
export function saysTheSame(one: Entry, other: Entry): boolean {
  const a = metadataOfEntry(one);
  const b = metadataOfEntry(other);
  return a.namespace === b.namespace && a.serviceAccount === b.serviceAccount;
}

function* kubernetesTexts(selectors: Entry['selectors']): Generator<string, void, undefined> {
  for (const selector of selectors) if (selector.type === 'k8s') yield selectorText(selector);
}
