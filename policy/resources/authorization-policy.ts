import type { Policy } from '../policy.ts';
import { list, object, optional } from '../schema/collections.ts';
import { parserOf } from '../schema/resource.ts';
import type { ResourceDefinition } from '../schema/resource.ts';
import type { ValueOf } from '../schema/schema.ts';
import { POLICY_COLUMNS, policyStatus } from './policy-status.ts';
import { commonFields, targetRef } from './policy-spec.ts';

const spec = object({
  ...commonFields,
  targetRefs: optional('What is called, by name: any of these.', list(targetRef, { minItems: 1, maxItems: 16 })),
});

const type = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'AuthorizationPolicy',
  plural: 'authorizationpolicies',
  namespaced: true,
} as const;

/** AuthorizationPolicy, for application teams: who may call the workloads of its own namespace. */
export const AUTHORIZATION_POLICY: ResourceDefinition<ValueOf<typeof spec>> = {
  type,
  shortNames: ['authz'],
  description:
    'Says who may call the workloads of its namespace. For application teams. `selector`, `attested` and `targetRefs` must all hold; without any of them, it is about every workload of the namespace.',
  spec,
  status: policyStatus,
  columns: POLICY_COLUMNS,
  example: `
apiVersion: countersign.dev/v1alpha1
kind: AuthorizationPolicy
metadata:
  name: orders
  namespace: shop
spec:
  selector:
    matchLabels:
      app: orders
  rules:
    - from:
        - serviceAccounts: [web]
      to:
        - methods: [GET]
          paths:
            - template: /orders/{id}
    - from:
        - spiffeIDs: ["spiffe://example.org/ns/billing/sa/*"]
          not:
            trustDomains: [partner.example]
      to:
        - methods: [POST]
          paths:
            - exact: /invoices
      when: request.headers["x-tenant"] == "acme"
`,
};

const parse = parserOf(type, spec);

/** Reads an AuthorizationPolicy. @throws DecodeError that names every faulty field */
export function parseAuthorizationPolicy(object: unknown): Policy {
  const { meta, spec: read } = parse(object);
  return {
    ...read,
    name: { kind: 'AuthorizationPolicy', namespace: meta.namespace, name: meta.name },
    meta,
    namespaceSelector: undefined,
    spiffeIDs: undefined,
  };
}
