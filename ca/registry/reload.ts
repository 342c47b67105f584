import { policyResourceKey } from '../model.ts';
import { authorityName } from '../store/codec.ts';
import type { Change } from '../store/store.ts';
import type { Registry } from './registry.ts';

/** Deletions of all that the registry has and the store, read completely, has not. */
export function missingFrom(registry: Registry, stored: readonly Change[], revision: number): readonly Change[] {
  const present = new Set(stored.map(({ kind, name }) => `${kind} ${name}`));
  const gone = { revision, position: 0, value: undefined, superseded: false } as const;
  const deletions: readonly Change[] = [
    ...registry.entries.list().items.map((former) => ({ ...gone, kind: 'entry' as const, name: former.id, former })),
    ...registry.agents.list().items.map((former) => ({ ...gone, kind: 'agent' as const, name: former.id.toString(), former })),
    ...registry.authorities.map((former) => ({
      ...gone,
      kind: 'authority' as const,
      name: authorityName(former.kind, former.id),
      former,
    })),
    ...registry.federatedBundles.list().items.map((former) => ({
      ...gone,
      kind: 'bundle' as const,
      name: former.trustDomain.name,
      former,
    })),
    ...registry.relationships.list().items.map((former) => ({
      ...gone,
      kind: 'relationship' as const,
      name: former.trustDomain.name,
      former,
    })),
    ...registry.policies.list().map((former) => ({ ...gone, kind: 'policy' as const, name: policyResourceKey(former), former })),
    ...[...registry.progress.values()].map((former) => ({
      ...gone,
      kind: 'progress' as const,
      name: former.agentId.toString(),
      former,
    })),
  ];
  return deletions.filter(({ kind, name }) => !present.has(`${kind} ${name}`));
}
