// The kinds of policies at a real API server: it takes the definitions, stores what we read and refuses what we refuse.
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { POLICY_DEFINITIONS } from '../../../crds/index.ts';
import { TestApiServer } from '../../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../../support/kubernetes/binaries.ts';
import { BAD_POLICIES } from '../../support/resources/bad-policies.ts';
import { withField } from '../../support/resources/bad-specs.ts';
import { FULL_POLICIES } from '../../support/resources/good-policies.ts';
import { collectionPath, declareTheSame, faultsOf, objectOf } from '../../support/resources/objects.ts';
import { randomSpecs } from '../../support/resources/random-specs.ts';

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const RUNS = Number(process.env['COUNTERSIGN_DRIFT_RUNS'] ?? 300);
const FILES = ['authorization-policy', 'cluster-authorization-policy', 'request-authentication'].map(
  (name) => `crds/${name}.yaml`,
);
const KINDS = POLICY_DEFINITIONS.map((definition) => [definition.type.kind, definition] as const);

describe.each(Object.values(KUBERNETES))('with kube-apiserver %s (needs go, or KUBEBUILDER_ASSETS)', (version) => {
  describe.skipIf(kubernetesMissing({ version }) !== undefined)('kinds of policies', () => {
    let server: TestApiServer;

    beforeAll(async () => {
      server = await TestApiServer.start({ version, crds: FILES });
      await server.kubectl(['create', 'namespace', 'shop']);
    });
    afterAll(async () => server?.[Symbol.asyncDispose]());

    const create = (kind: string, object: unknown, isDryRun = true) =>
      server.api.send('POST', `${collectionPath(kind)}?fieldValidation=Strict${isDryRun ? '&dryRun=All' : ''}`, object);

    test.each(KINDS)('%s is established and structural', async (_kind, { type }) => {
      const { status } = await server.api.expect('GET', `${CRDS}/${type.plural}.${type.group}`);
      // The cast is sound: the API server answers with a CustomResourceDefinition.
      const { conditions } = status as { conditions: { type: string; status: string }[] };
      const holding = conditions.filter((each) => each.status === 'True').map((each) => each.type);
      expect(holding).toEqual(['NamesAccepted', 'Established']);
    });

    test.each(KINDS)('%s: the example and every field come back as they were written', async (kind, { example }) => {
      for (const object of [parseYaml(example), objectOf(kind, FULL_POLICIES[kind], 'full')]) {
        const { status, body } = await create(kind, object, false);
        expect([status, body]).toEqual([201, body]);
        expect(declareTheSame(kind, body, object)).toBe(true);
      }
    });

    test.each(BAD_POLICIES.map((bad) => [bad.kind, bad.set, JSON.stringify(bad.to)?.slice(0, 80), bad] as const))(
      '%s: %s = %s is refused by both',
      async (kind, set, _shown, { to, named = set }) => {
        const object = objectOf(kind, withField(FULL_POLICIES[kind] ?? {}, set, to), 'bad');
        const { status, body } = await create(kind, object);
        expect([[400, 422].includes(status), body]).toEqual([true, body]);
        expect(faultsOf(kind, object).map(({ path }) => path)).toContain(`spec.${named}`);
      },
    );

    test.each(KINDS)('random specifications of %s are admitted by both or by neither', async (kind, { spec }) => {
      const agree = async (given: unknown): Promise<void> => {
        const object = objectOf(kind, given);
        const { status, body } = await create(kind, object);
        const faults = faultsOf(kind, object);
        const agrees = status === 201 ? faults.length === 0 && declareTheSame(kind, body, object) : faults.length > 0;
        if (!agrees) throw new Error(JSON.stringify({ status, body, faults }));
      };
      await fc.assert(fc.asyncProperty(randomSpecs(spec.openApi, FULL_POLICIES[kind] ?? {}), agree), { numRuns: RUNS });
    });
  });
});
