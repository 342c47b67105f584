// SPIRE's kinds with SPIRE's own CustomResourceDefinitions: what these admit is read, and their status takes what we write.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OWN_DEFINITIONS, RESOURCE_KINDS } from '../../../crds/index.ts';
import type { OpenApiSchema } from '../../../policy/schema/schema.ts';
import { TestApiServer } from '../../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../../support/kubernetes/binaries.ts';
import { spireCrds } from '../../support/kubernetes/spire-crds.ts';
import { collectionPath, declareTheSame, faultsOf, objectOf } from '../../support/resources/objects.ts';
import { SPIRE_SPECS } from '../../support/resources/spire-specs.ts';

const { files = [], missing = kubernetesMissing() } = await spireCrds();
const SPIRE_KINDS = RESOURCE_KINDS.filter(({ type }) => type.group === 'spire.spiffe.io').map(({ type }) => type);

/** SPIRE's kind and ours that has all of its fields. */
const SUPERSETS = [
  ['ClusterSPIFFEID', 'ClusterWorkloadIdentity'],
  ['ClusterStaticEntry', 'StaticIdentity'],
  ['ClusterFederatedTrustDomain', 'FederatedTrustDomain'],
] as const;

interface StoredDefinition {
  readonly spec: {
    readonly names: object;
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: OpenApiSchema } }[];
  };
}

describe.skipIf(missing !== undefined)(`SPIRE's kinds${missing === undefined ? '' : ` (${missing})`}`, () => {
  let server: TestApiServer;

  beforeAll(async () => {
    server = await TestApiServer.start({ version: KUBERNETES.current, crds: files });
  });
  afterAll(async () => server?.[Symbol.asyncDispose]());

  async function definitionOf(kind: string): Promise<StoredDefinition> {
    const type = SPIRE_KINDS.find((each) => each.kind === kind);
    const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${type?.plural}.${type?.group}`;
    // The cast is sound: the API server answers with a CustomResourceDefinition.
    return (await server.api.expect('GET', path)) as unknown as StoredDefinition;
  }

  async function schemaOf(kind: string): Promise<OpenApiSchema> {
    const version = (await definitionOf(kind)).spec.versions.find(({ name }) => name === 'v1alpha1');
    return version?.schema.openAPIV3Schema ?? {};
  }

  test.each(SPIRE_KINDS.map((type) => [type.kind, type] as const))('%s is called what we call it', async (kind, type) => {
    const { spec } = await definitionOf(kind);
    expect(spec).toMatchObject({ group: type.group, scope: 'Cluster', names: { kind, plural: type.plural } });
  });

  test.each(SUPERSETS)('all that %s has, %s has, of the same type', async (kind, own) => {
    const theirs = (await schemaOf(kind)).properties?.['spec'];
    const ours = OWN_DEFINITIONS.find(({ type }) => type.kind === own)?.spec.openApi;
    const typesOf = (schema: OpenApiSchema | undefined): [string, string | undefined][] =>
      Object.entries(schema?.properties ?? {}).map(([field, { type }]) => [field, type]);
    expect(typesOf(ours)).toEqual(expect.arrayContaining(typesOf(theirs)));
    expect(ours?.required).toEqual(expect.arrayContaining([...(theirs?.required ?? [])]));
  });

  test.each(Object.entries(SPIRE_SPECS).flatMap(([kind, specs]) => specs.map((spec, index) => [kind, index, spec] as const)))(
    '%s: what its schema admits is read (%i)',
    async (kind, index, spec) => {
      const object = objectOf(kind, spec, `object-${index}`);
      const { status, body } = await server.api.send('POST', `${collectionPath(kind)}?fieldValidation=Strict`, object);
      expect([status, body]).toEqual([201, body]);
      expect(faultsOf(kind, body)).toEqual([]);
      expect(declareTheSame(kind, body, object)).toBe(true);
    },
  );

  test.each([
    [
      'ClusterSPIFFEID',
      {
        stats: {
          namespacesSelected: 3,
          namespacesIgnored: 1,
          podsSelected: 5,
          podEntryRenderFailures: 1,
          entriesMasked: 1,
          entriesToSet: 4,
          entryFailures: 2,
        },
      },
    ],
    ['ClusterStaticEntry', { rendered: true, masked: false, set: true }],
  ])('the status of %s takes what we write', async (kind, status) => {
    const path = `${collectionPath(kind)}/object-0/status?fieldValidation=Strict`;
    const patched = await server.api.expect('PATCH', path, { status }, 'application/merge-patch+json');
    expect(patched).toMatchObject({ status });
  });
});
