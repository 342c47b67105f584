import type { ResourceDefinition } from '../policy/schema/resource.ts';
import type { OpenApiSchema } from '../policy/schema/schema.ts';

// What `kubectl explain` says about the fields that every object has.
const COMMON_PROPERTIES: Readonly<Record<string, OpenApiSchema>> = {
  apiVersion: { type: 'string', description: 'Group and version of the schema of this object.' },
  kind: { type: 'string', description: 'The kind of this object.' },
  metadata: { type: 'object' },
};

/** The CustomResourceDefinition (`apiextensions.k8s.io/v1`) of a kind, its keys in the order in which a person reads them. */
export function customResourceDefinition(definition: ResourceDefinition<unknown>): Readonly<Record<string, unknown>> {
  const { group, version, kind, plural, namespaced } = definition.type;
  const names = { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames: definition.shortNames };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${group}`,
      labels: { 'app.kubernetes.io/name': 'countersign', 'app.kubernetes.io/part-of': 'countersign' },
    },
    spec: {
      group,
      scope: namespaced ? 'Namespaced' : 'Cluster',
      names: { ...names, categories: ['countersign'] },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: definition.columns,
          schema: { openAPIV3Schema: wholeSchema(definition) },
        },
      ],
    },
  };
}

function wholeSchema({ description, spec, status }: ResourceDefinition<unknown>): OpenApiSchema {
  return {
    type: 'object',
    description,
    required: ['spec'],
    properties: {
      ...COMMON_PROPERTIES,
      spec: { description: 'What is declared.', ...spec.openApi },
      status: { description: 'What came of it. Written by the controller.', ...status.openApi },
    },
  };
}
