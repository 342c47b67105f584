import type { Policy } from '../policy.ts';
import { object, optional } from '../schema/collections.ts';
import { labelSelector } from '../schema/label-selector.ts';
import { parserOf } from '../schema/resource.ts';
import type { ResourceDefinition } from '../schema/resource.ts';
import { text } from '../schema/scalars.ts';
import type { ValueOf } from '../schema/schema.ts';
import { values } from './clause.ts';
import { POLICY_COLUMNS, policyStatus } from './policy-status.ts';
import { commonFields } from './policy-spec.ts';

const spec = object({
  ...commonFields,
  namespaceSelector: optional('Namespaces of what is called, by their labels.', labelSelector),
  spiffeIDs: optional(
    'SPIFFE IDs of what is called. `*` stands for any characters of one segment, `**` at the end for one or more segments.',
    values(
      text({
        title: 'SPIFFE ID pattern',
        maxLength: 2048,
        pattern: /^spiffe:\/\/[a-z0-9._*-]+(\/[A-Za-z0-9._*-]+)*$/,
        meaning: 'a SPIFFE ID, such as spiffe://example.org/ns/*/sa/web',
        cheap: true,
      }),
    ),
  ),
});

const type = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'ClusterAuthorizationPolicy',
  plural: 'clusterauthorizationpolicies',
  namespaced: false,
} as const;

/** ClusterAuthorizationPolicy, for platform engineers: who may call workloads of any namespace, and workloads outside of Kubernetes. */
export const CLUSTER_AUTHORIZATION_POLICY: ResourceDefinition<ValueOf<typeof spec>> = {
  type,
  shortNames: ['cauthz'],
  description:
    'Says who may call workloads of any namespace, or workloads that run without Kubernetes. For platform engineers. `namespaceSelector`, `selector`, `attested` and `spiffeIDs` must all hold; without any of them, it is about every workload.',
  spec,
  status: policyStatus,
  columns: POLICY_COLUMNS,
  example: `
apiVersion: countersign.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata:
  name: no-partners-at-the-core
spec:
  action: DENY
  namespaceSelector:
    matchLabels:
      tier: core
  rules:
    - from:
        - trustDomains: [partner.example]
`,
};

const parse = parserOf(type, spec);

/** Reads a ClusterAuthorizationPolicy. @throws DecodeError that names every faulty field */
export function parseClusterAuthorizationPolicy(object: unknown): Policy {
  const { meta, spec: read } = parse(object);
  return { ...read, name: { kind: 'ClusterAuthorizationPolicy', namespace: '', name: meta.name }, meta, targetRefs: undefined };
}
