// Our resources at a real API server: it takes the definitions, stores what we read and refuses what we refuse.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { OWN_DEFINITIONS } from '../../../crds/index.ts';
import { TestApiServer } from '../../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../../support/kubernetes/binaries.ts';
import { BAD_SPECS, withField } from '../../support/resources/bad-specs.ts';
import { FULL_SPECS } from '../../support/resources/good-specs.ts';
import { collectionPath, declareTheSame, objectOf } from '../../support/resources/objects.ts';

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const STRICT = 'fieldValidation=Strict';
const KINDS = OWN_DEFINITIONS.map(({ type }) => type.kind);

/** The fields that the API server names in a refusal. */
function faultyFieldsOf(body: unknown): string[] {
  // The cast is sound: a refusal is a Status of Kubernetes.
  const { message = '', details } = body as { message?: string; details?: { causes?: { field?: string }[] } };
  const unknown = [...message.matchAll(/unknown field "([^"]+)"/g)].map(([, field = '']) => field);
  const fields = [...(details?.causes ?? []).map(({ field = '' }) => field), ...unknown];
  // It may write `spec.a[key]` for what is `spec.a.key` here.
  return fields.map((field) => field.replaceAll(/\[([^\]\d][^\]]*)\]/g, '.$1'));
}

describe.each(Object.values(KUBERNETES))('with kube-apiserver %s (needs go, or KUBEBUILDER_ASSETS)', (version) => {
  describe.skipIf(kubernetesMissing({ version }) !== undefined)('our kinds', () => {
    let server: TestApiServer;

    beforeAll(async () => {
      server = await TestApiServer.start({ version, crds: ['crds'] });
      await server.kubectl(['create', 'namespace', 'shop']);
    });
    afterAll(async () => server?.[Symbol.asyncDispose]());

    const create = (kind: string, object: unknown, query = STRICT) =>
      server.api.send('POST', `${collectionPath(kind)}?${query}`, object);

    test('are established and structural', async () => {
      for (const { type } of OWN_DEFINITIONS) {
        const { status } = await server.api.expect('GET', `${CRDS}/${type.plural}.${type.group}`);
        expect(status).toMatchObject({ storedVersions: ['v1alpha1'] });
        const conditions = (status as { conditions: { type: string; status: string }[] }).conditions;
        expect(conditions.filter((each) => each.status === 'True').map((each) => each.type)).toEqual([
          'NamesAccepted',
          'Established',
        ]);
      }
    });

    test.each(OWN_DEFINITIONS.map((definition) => [definition.type.kind, definition] as const))(
      'the example of %s is stored as it is read',
      async (kind, { example }) => {
        const { status, body } = await create(kind, parseYaml(example));
        expect([status, body]).toEqual([201, body]);
        expect(declareTheSame(kind, body, parseYaml(example))).toBe(true);
      },
    );

    test.each(KINDS)('%s with every field comes back as it was written', async (kind) => {
      const object = objectOf(kind, FULL_SPECS[kind], 'full');
      const { status, body } = await create(kind, object);
      expect([status, body]).toMatchObject([201, { metadata: { generation: 1 }, spec: FULL_SPECS[kind] }]);
      expect(declareTheSame(kind, body, object)).toBe(true);
    });

    test.each(BAD_SPECS.map((bad) => [bad.kind, bad.set, JSON.stringify(bad.to)?.slice(0, 60), bad] as const))(
      '%s: %s = %s is refused, and the field named',
      async (kind, set, _shown, { to, named = set }) => {
        const object = objectOf(kind, withField(FULL_SPECS[kind] ?? {}, set, to), 'bad');
        const { status, body } = await create(kind, object, `${STRICT}&dryRun=All`);
        expect([400, 422]).toContain(status);
        expect(faultyFieldsOf(body)).toContain(`spec.${named}`);
      },
    );

    test.each(KINDS)('%s: only the status subresource changes the status', async (kind) => {
      const path = `${collectionPath(kind)}/full`;
      const lastTransitionTime = '2026-01-31T12:00:00Z';
      const condition = { type: 'Ready', status: 'True', reason: 'Issued', message: 'all is well', lastTransitionTime };
      const patch = { status: { observedGeneration: 1, conditions: [condition] }, spec: { className: 'other' } };
      const merge = 'application/merge-patch+json';
      expect(await server.api.expect('PATCH', `${path}/status`, patch, merge)).toMatchObject({
        metadata: { generation: 1 },
        spec: { className: 'main' },
        status: { observedGeneration: 1, conditions: [condition] },
      });
      const unchanged = await server.api.expect('PATCH', path, { status: { observedGeneration: 7 } }, merge);
      expect(unchanged).toMatchObject({ status: { observedGeneration: 1 } });
    });

    test('a status with two conditions of one type, or with an unknown word, is refused', async () => {
      const path = `${collectionPath('StaticIdentity')}/full/status`;
      const good = { type: 'Ready', status: 'True', reason: 'Set', message: '', lastTransitionTime: '2026-01-31T12:00:00Z' };
      for (const conditions of [[good, good], [{ ...good, status: 'Yes' }], [{ ...good, lastTransitionTime: 'now' }]]) {
        const answer = await server.api.send('PATCH', path, { status: { conditions } }, 'application/merge-patch+json');
        expect(answer.status).toBe(422);
      }
    });

    test('an unknown field is pruned where the client does not ask for more', async () => {
      const object = objectOf('WorkloadIdentity', { ...FULL_SPECS['WorkloadIdentity'], admin: true }, 'pruned');
      const { status, body } = await create('WorkloadIdentity', object, 'fieldValidation=Warn');
      expect([status, body]).toMatchObject([201, { spec: FULL_SPECS['WorkloadIdentity'] }]);
      expect(body).not.toHaveProperty('spec.admin');
    });

    test('kubectl shows columns, categories and short names', async () => {
      const stats = { podsSelected: 3, entriesToSet: 2 };
      const status = { stats };
      await server.api.expect(
        'PATCH',
        `${collectionPath('ClusterWorkloadIdentity')}/full/status`,
        { status },
        'application/merge-patch+json',
      );
      const [head, row] = (await server.kubectl(['get', 'cwi', 'full'])).split('\n');
      expect(head?.split(/ {2,}/)).toEqual(['NAME', 'SPIFFE ID', 'PODS', 'ENTRIES', 'READY', 'AGE']);
      expect(row).toMatch(/^full +spiffe:\/\/\{\{ \.TrustDomain \}\}.* +3 +2 +True +\d+s$/);
      expect(await server.kubectl(['get', 'sti', '-o', 'wide'])).toMatch(
        /^NAME +SPIFFE ID +PARENT ID +SET +READY +REASON +AGE\n/,
      );
      expect(await server.kubectl(['get', 'ftd'])).toMatch(/^NAME +TRUST DOMAIN +ENDPOINT URL +READY +AGE\n/);
      expect(await server.kubectl(['get', 'wi', '-n', 'shop'])).toMatch(/^NAME +PATH +PODS +ENTRIES +READY +AGE\n/);
      const all = await server.kubectl(['get', 'countersign', '-A', '-o', 'name']);
      for (const { type } of OWN_DEFINITIONS) expect(all).toContain(`${type.kind.toLowerCase()}.${type.group}/`);
    });

    test('kubectl explains every field', async () => {
      for (const { type, spec } of OWN_DEFINITIONS) {
        const text = (await server.kubectl(['explain', `${type.plural}.spec`])).replaceAll(/\s+/g, ' ');
        for (const [field, { description = '' }] of Object.entries(spec.openApi.properties ?? {})) {
          expect(text).toContain(` ${field} <`);
          expect(text).toContain(description.slice(0, 40));
        }
      }
    });
  });
});
