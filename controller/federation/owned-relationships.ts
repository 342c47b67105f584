import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import { CONFIG_MAPS } from '../../runtime/kubernetes/resource-types.ts';
import type { OwnedRelationships } from './federation-reconciler.ts';

const KEY = 'trustDomains';
const FIELD_MANAGER = 'countersign-controller';

/** Keeps the record in a ConfigMap, so that a relationship goes even when its resource was deleted while no controller ran. */
export function recordInConfigMap(
  client: Pick<KubeClient, 'list' | 'apply'>,
  { namespace, name }: { readonly namespace: string; readonly name: string },
): OwnedRelationships {
  return {
    async load() {
      // By a list, for which the permission is there anyway.
      for await (const { items } of client.list(CONFIG_MAPS, { namespace, fieldSelector: `metadata.name=${name}` })) {
        for (const { data } of items) return new Set(namesIn(data));
      }
      return new Set();
    },
    async save(trustDomains) {
      const data = { [KEY]: [...trustDomains].sort().join(' ') };
      await client.apply(CONFIG_MAPS, { metadata: { namespace, name }, data }, { fieldManager: FIELD_MANAGER, force: true });
    },
  };
}

/** Keeps the record for as long as the process runs: without Kubernetes there is no better place. */
export function recordInMemory(): OwnedRelationships {
  let owned: ReadonlySet<string> = new Set();
  return {
    load: () => Promise.resolve(owned),
    save: (trustDomains) => {
      owned = new Set(trustDomains);
      return Promise.resolve();
    },
  };
}

function namesIn(data: unknown): readonly string[] {
  if (typeof data !== 'object' || data === null || !(KEY in data) || typeof data[KEY] !== 'string') return [];
  return data[KEY].split(' ').filter((name) => name !== '');
}
