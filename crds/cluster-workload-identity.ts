import type { IdentityDeclaration } from './identity-declaration.ts';
import { className, hint, lifetime, presentOr, selectorTemplates, template, templates, trustDomains } from './identity-fields.ts';
import { jwtClaims } from './jwt-claims.ts';
import { labelSelector, selectsEverything } from '../policy/schema/label-selector.ts';
import type { LabelSelector } from '../policy/schema/label-selector.ts';
import { IDENTITY_COLUMNS } from './printer-columns.ts';
import { parserOf } from '../policy/schema/resource.ts';
import type { ResourceDefinition } from '../policy/schema/resource.ts';
import { identityStatus } from './resource-status.ts';
import { object, optional, required } from '../policy/schema/collections.ts';
import { boolean } from '../policy/schema/scalars.ts';
import { ruled } from '../policy/schema/schema.ts';
import type { Rule, ValueOf } from '../policy/schema/schema.ts';

const idTemplate = ruled(template, {
  cel: 'self.matches(r"^(spiffe://|[ \\t\\r\\n]*[{][{])")',
  message: 'must begin with spiffe:// or with a template action',
  holds: (value) => /^(spiffe:\/\/|[ \t\r\n]*[{][{])/.test(value),
});

const fields = object({
  spiffeIDTemplate: required(
    'Template of the SPIFFE ID, such as `spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}`.',
    idTemplate,
  ),
  podSelector: optional('Which pods get the identity, by their labels. Without it: every pod.', labelSelector),
  namespaceSelector: optional('In which namespaces, by their labels. Without it: in every one.', labelSelector),
  dnsNameTemplates: optional('Templates of DNS names for the X509-SVID.', templates, []),
  workloadSelectorTemplates: optional(
    'Templates of further selectors, `type:value`, that the process that asks must match as well, such as `k8s:container-name:app`.',
    selectorTemplates,
    [],
  ),
  ttl: optional("Lifetime of X509-SVIDs. Without it: the CA's default.", lifetime),
  jwtTtl: optional("Lifetime of JWT-SVIDs. Without it: the CA's default.", lifetime),
  federatesWith: optional('Other trust domains whose bundles the workload gets.', trustDomains, []),
  admin: optional(
    "Whether the SVID may use the CA's administrative APIs. The controller's configuration must allow it (`allowAdminIdentities`).",
    boolean,
    false,
  ),
  downstream: optional(
    "Whether the workload is a CA that this CA signs for. The controller's configuration must allow it (`allowAdminIdentities`).",
    boolean,
    false,
  ),
  autoPopulateDNSNames: optional(
    'Whether the X509-SVID gets the DNS names of the Services that the pod is an endpoint of.',
    boolean,
    false,
  ),
  fallback: optional('Whether the identity is only for pods that no other resource gives one.', boolean, false),
  className: optional('Which controller is to act on this resource, where there are several.', className, ''),
  hint: optional('Told to the workload, so that it can tell its SVIDs apart.', hint, ''),
  jwtClaims: optional(
    "Further claims of JWT-SVIDs, any JSON of up to 16 levels. Its texts are templates. The CA's own claims (`iss`, `sub`, `aud`, `exp`, `nbf`, `iat`, `jti`, `cnf`, `act`) are refused.",
    jwtClaims,
    {},
  ),
});

type Spec = ValueOf<typeof fields>;

function narrows(selector: LabelSelector | undefined): boolean {
  return selector !== undefined && !selectsEverything(selector);
}

const NARROWS = ['podSelector', 'namespaceSelector']
  .flatMap((selector) => [`${selector}.matchLabels`, `${selector}.matchExpressions`].map((part) => [selector, part]))
  .map(([selector, part]) => `has(self.${selector}) && has(self.${part}) && size(self.${part}) > 0`)
  .join(' || ');

function powerRules(field: 'admin' | 'downstream'): readonly Rule<Spec>[] {
  return [
    {
      cel: `!self.${field} || ${NARROWS}`,
      message: `${field} needs a podSelector or a namespaceSelector: without one every pod in the cluster would have this power`,
      at: field,
      holds: (spec) => !spec[field] || narrows(spec.podSelector) || narrows(spec.namespaceSelector),
    },
    {
      cel: `!(self.${field} && self.fallback)`,
      message: `${field} and fallback exclude each other: such a power is given by name, not to whoever is left over`,
      at: field,
      holds: (spec) => !(spec[field] && spec.fallback),
    },
  ];
}

const type = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'ClusterWorkloadIdentity',
  plural: 'clusterworkloadidentities',
  namespaced: false,
} as const;

/** ClusterWorkloadIdentity, for platform engineers: gives pods of any namespace any identity. A superset of SPIRE's ClusterSPIFFEID. */
export const CLUSTER_WORKLOAD_IDENTITY: ResourceDefinition<Spec> = {
  type,
  shortNames: ['cwi'],
  description:
    'Gives identities to pods of any namespace. For platform engineers. It has all that a ClusterSPIFFEID of SPIRE has, under the same names.',
  spec: ruled(fields, ...powerRules('admin'), ...powerRules('downstream')),
  status: identityStatus,
  columns: [{ name: 'SPIFFE ID', type: 'string', jsonPath: '.spec.spiffeIDTemplate' }, ...IDENTITY_COLUMNS],
  example: `
apiVersion: countersign.dev/v1alpha1
kind: ClusterWorkloadIdentity
metadata:
  name: service-accounts
spec:
  spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}"
  namespaceSelector:
    matchLabels:
      team: payments
  autoPopulateDNSNames: true
  ttl: 30m
  jwtClaims:
    kubernetes:
      pod: "{{ .PodMeta.Name }}"
      node: "{{ .PodSpec.NodeName }}"
`,
};

const parse = parserOf(type, CLUSTER_WORKLOAD_IDENTITY.spec);

/** Reads a ClusterWorkloadIdentity. @throws DecodeError that names every faulty field */
export function parseClusterWorkloadIdentity(object: unknown): IdentityDeclaration {
  const { meta, spec } = parse(object);
  const { spiffeIDTemplate, autoPopulateDNSNames, ...same } = spec;
  return {
    ...same,
    kind: 'ClusterWorkloadIdentity',
    meta,
    spiffeIdTemplate: spiffeIDTemplate,
    pathTemplate: undefined,
    autoPopulateDnsNames: autoPopulateDNSNames,
    className: presentOr(spec.className, undefined),
  };
}
