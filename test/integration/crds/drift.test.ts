// The parser and the API server are two readings of one definition. Random specifications show where they part.
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OWN_DEFINITIONS } from '../../../crds/index.ts';
import { TestApiServer } from '../../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../../support/kubernetes/binaries.ts';
import { FULL_SPECS } from '../../support/resources/good-specs.ts';
import { collectionPath, declareTheSame, faultsOf, objectOf } from '../../support/resources/objects.ts';
import { randomSpecs } from '../../support/resources/random-specs.ts';

const RUNS = Number(process.env['COUNTERSIGN_DRIFT_RUNS'] ?? 400);

describe.each(Object.values(KUBERNETES))('with kube-apiserver %s (needs go, or KUBEBUILDER_ASSETS)', (version) => {
  describe.skipIf(kubernetesMissing({ version }) !== undefined)('random specifications', () => {
    let server: TestApiServer;

    beforeAll(async () => {
      server = await TestApiServer.start({ version, crds: ['crds'] });
      await server.kubectl(['create', 'namespace', 'shop']);
    });
    afterAll(async () => server?.[Symbol.asyncDispose]());

    test.each(OWN_DEFINITIONS.map(({ type, spec }) => [type.kind, spec.openApi] as const))(
      'of %s are admitted by both or by neither',
      async (kind, schema) => {
        const counts = { admitted: 0, refused: 0 };
        const agree = async (spec: unknown): Promise<void> => {
          const object = objectOf(kind, spec);
          const path = `${collectionPath(kind)}?fieldValidation=Strict&dryRun=All`;
          const { status, body } = await server.api.send('POST', path, object);
          const faults = faultsOf(kind, object);
          const isAdmitted = status === 201;
          const agrees = isAdmitted ? faults.length === 0 && declareTheSame(kind, body, object) : faults.length > 0;
          if (!agrees) throw new Error(JSON.stringify({ status, body, faults }));
          counts[isAdmitted ? 'admitted' : 'refused'] += 1;
        };
        await fc.assert(fc.asyncProperty(randomSpecs(schema, FULL_SPECS[kind] ?? {}), agree), { numRuns: RUNS });
        // Both sides of the border were visited.
        expect(Math.min(counts.admitted, counts.refused)).toBeGreaterThan(RUNS / 20);
      },
    );
  });
});
