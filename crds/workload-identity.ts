import type { IdentityDeclaration } from './identity-declaration.ts';
import { className, hint, lifetime, presentOr, teamSelectorTemplates } from './identity-fields.ts';
import { labelSelector } from '../policy/schema/label-selector.ts';
import { IDENTITY_COLUMNS } from './printer-columns.ts';
import { parserOf } from '../policy/schema/resource.ts';
import type { ResourceDefinition } from '../policy/schema/resource.ts';
import { identityStatus } from './resource-status.ts';
import { object, optional, required } from '../policy/schema/collections.ts';
import { boolean, text } from '../policy/schema/scalars.ts';
import type { ValueOf } from '../policy/schema/schema.ts';

const pathTemplate = text({
  title: 'template',
  maxLength: 2048,
  pattern: /^[^/]/,
  meaning: 'a path without a slash in front, such as web/api',
});

const spec = object({
  pathTemplate: required(
    "Template of what follows the path of the namespace in the SPIFFE ID, without a slash in front, such as `sa/{{ .PodSpec.ServiceAccountName }}`. The controller's configuration gives each namespace its path, `/ns/<namespace>` unless it says otherwise.",
    pathTemplate,
  ),
  podSelector: optional('Which pods of this namespace get the identity, by their labels. Without it: every one.', labelSelector),
  autoPopulateDNSNames: optional(
    'Whether the X509-SVID gets the DNS names of those Services of this namespace that the pod is an endpoint of.',
    boolean,
    false,
  ),
  workloadSelectorTemplates: optional(
    'Templates of further selectors, `type:value`, that the process that asks must match as well, such as `k8s:container-name:app`.',
    teamSelectorTemplates,
    [],
  ),
  ttl: optional("Lifetime of X509-SVIDs. Without it: the CA's default.", lifetime),
  jwtTtl: optional("Lifetime of JWT-SVIDs. Without it: the CA's default.", lifetime),
  className: optional('Which controller is to act on this resource, where there are several.', className, ''),
  hint: optional('Told to the workload, so that it can tell its SVIDs apart.', hint, ''),
});

const type = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'WorkloadIdentity',
  plural: 'workloadidentities',
  namespaced: true,
} as const;

/** WorkloadIdentity, for application teams: gives pods of its own namespace identities below the namespace's path. */
export const WORKLOAD_IDENTITY: ResourceDefinition<ValueOf<typeof spec>> = {
  type,
  shortNames: ['wi'],
  description:
    "Gives identities to pods of its own namespace, below the path that the controller's configuration gives the namespace. For application teams: it cannot give the identity of another namespace, nor any power over the CA.",
  spec,
  status: identityStatus,
  columns: [{ name: 'Path', type: 'string', jsonPath: '.spec.pathTemplate' }, ...IDENTITY_COLUMNS],
  example: `
apiVersion: countersign.dev/v1alpha1
kind: WorkloadIdentity
metadata:
  name: web
  namespace: shop
spec:
  pathTemplate: "web/{{ .PodSpec.ServiceAccountName }}"
  podSelector:
    matchLabels:
      app: web
  autoPopulateDNSNames: true
`,
};

const parse = parserOf(type, spec);

/** Reads a WorkloadIdentity. @throws DecodeError that names every faulty field */
export function parseWorkloadIdentity(object: unknown): IdentityDeclaration {
  const { meta, spec: read } = parse(object);
  const { autoPopulateDNSNames, ...same } = read;
  return {
    ...same,
    kind: 'WorkloadIdentity',
    meta,
    spiffeIdTemplate: '',
    namespaceSelector: undefined,
    dnsNameTemplates: [],
    federatesWith: [],
    admin: false,
    downstream: false,
    autoPopulateDnsNames: autoPopulateDNSNames,
    fallback: false,
    className: presentOr(read.className, undefined),
    jwtClaims: {},
  };
}
