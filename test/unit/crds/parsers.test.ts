import { describe, expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { OWN_DEFINITIONS, RESOURCE_KINDS } from '../../../crds/index.ts';
import { BAD_SPECS, withField } from '../../support/resources/bad-specs.ts';
import { FULL_SPECS } from '../../support/resources/good-specs.ts';
import { faultsOf, kindNamed, objectOf } from '../../support/resources/objects.ts';

describe('our kinds', () => {
  test.each(OWN_DEFINITIONS.map((definition) => [definition.type.kind, definition] as const))(
    'the example of %s is read',
    (kind, { example }) => {
      expect(faultsOf(kind, parseYaml(example))).toEqual([]);
    },
  );

  test.each(Object.entries(FULL_SPECS))('%s with every field is read', (kind, spec) => {
    expect(faultsOf(kind, objectOf(kind, spec))).toEqual([]);
    const properties = OWN_DEFINITIONS.find(({ type }) => type.kind === kind)?.spec.openApi.properties ?? {};
    expect(Object.keys(spec).sort()).toEqual(Object.keys(properties).sort());
  });

  test.each(BAD_SPECS.map((bad) => [bad.kind, bad.set, JSON.stringify(bad.to)?.slice(0, 60), bad] as const))(
    '%s: %s = %s is refused, and the field named',
    (kind, set, _shown, { to, named = set }) => {
      const faults = faultsOf(kind, objectOf(kind, withField(FULL_SPECS[kind] ?? {}, set, to)));
      // It may name a part of the field, where the API server names the whole.
      expect(faults.map(({ path }) => (path.startsWith(`spec.${named}.`) ? `spec.${named}` : path))).toContain(`spec.${named}`);
    },
  );
});

describe('every kind', () => {
  const kinds = RESOURCE_KINDS.map((kind) => [kind.type.kind, kind] as const);

  test.each(kinds)('%s: all faults are named at once', (kind, { type }) => {
    const faults = faultsOf(kind, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 7, labels: { a: 1 } }, extra: 1 });
    const paths = faults.map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(['apiVersion', 'kind', 'metadata.name', 'metadata.labels.a', 'extra', 'spec']));
    expect(type.kind).toBe(kind);
  });

  test.each(kinds)('%s: no object at all', (kind) => {
    for (const object of [undefined, null, 'text', 7, []]) expect(faultsOf(kind, object).length).toBeGreaterThan(0);
  });

  test('names them apart', () => {
    expect(new Set(RESOURCE_KINDS.map(({ type }) => `${type.group}/${type.kind}`)).size).toBe(RESOURCE_KINDS.length);
    expect(new Set(OWN_DEFINITIONS.flatMap(({ shortNames }) => shortNames)).size).toBe(OWN_DEFINITIONS.length);
  });
});

describe('metadata', () => {
  const spec = FULL_SPECS['FederatedTrustDomain'];

  test('what the API server adds is read', () => {
    const object = {
      ...objectOf('FederatedTrustDomain', spec),
      metadata: {
        name: 'partner',
        namespace: 'ignored',
        uid: '8c1f',
        generation: 3,
        resourceVersion: '77',
        creationTimestamp: '2026-01-31T12:00:00Z',
        deletionTimestamp: '2026-02-01T12:00:00Z',
        labels: { a: 'b' },
        managedFields: [],
      },
      status: { conditions: 'whatever' },
    };
    expect(kindNamed('FederatedTrustDomain').parse(object).meta).toEqual({
      name: 'partner',
      namespace: '',
      uid: '8c1f',
      generation: 3,
      createdAtMs: Date.UTC(2026, 0, 31, 12),
      deleting: true,
      labels: { a: 'b' },
      annotations: {},
    });
  });

  test('of an object that no API server has stored is empty', () => {
    expect(kindNamed('FederatedTrustDomain').parse(objectOf('FederatedTrustDomain', spec)).meta).toEqual({
      name: 'example',
      namespace: '',
      uid: '',
      generation: 0,
      createdAtMs: 0,
      deleting: false,
      labels: {},
      annotations: {},
    });
  });

  test('a namespaced object must say where it is', () => {
    const object = { ...objectOf('WorkloadIdentity', FULL_SPECS['WorkloadIdentity']), metadata: { name: 'web' } };
    expect(faultsOf('WorkloadIdentity', object)).toMatchObject([{ path: 'metadata.namespace' }]);
  });
});
