import { className, hint, lifetime, presentOr, trustDomains } from './identity-fields.ts';
import { spiffeIdWithPath } from '../policy/schema/identity.ts';
import { jwtClaims } from './jwt-claims.ts';
import { READY_COLUMNS } from '../policy/schema/printer-columns.ts';
import { parserOf } from '../policy/schema/resource.ts';
import type { ResourceDefinition } from '../policy/schema/resource.ts';
import { staticStatus } from './resource-status.ts';
import { list, object, optional, required } from '../policy/schema/collections.ts';
import { boolean, text } from '../policy/schema/scalars.ts';
import { converted, ruled } from '../policy/schema/schema.ts';
import type { ValueOf } from '../policy/schema/schema.ts';
import type { EntrySelector, StaticDeclaration } from './static-declaration.ts';

const selector = converted(
  text({ maxLength: 1024, pattern: /^[^:]+:[^\n]/, meaning: 'a selector "type:value", such as unix:uid:1000' }),
  entrySelectorOf,
);

/** Splits `type:value`; the value may have colons. */
export function entrySelectorOf(written: string): EntrySelector {
  const colon = written.indexOf(':');
  return { type: written.slice(0, colon), value: written.slice(colon + 1) };
}

const dnsName = text({
  maxLength: 253,
  pattern: /^([*][.])?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?([.][A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/,
  meaning: 'a DNS name, such as db.example.org',
});

const workload = object({
  namespace: required(
    'The namespace that it is to count among.',
    text({ maxLength: 63, pattern: /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, meaning: 'a name of a namespace' }),
  ),
  serviceAccount: optional(
    'The service account that it is to be taken for.',
    text({
      maxLength: 253,
      pattern: /^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
      meaning: 'a name of a service account',
    }),
  ),
});

const workloadId = ruled(spiffeIdWithPath, {
  cel: '!self.matches(r"^spiffe://[^/]+/spire(/|$)")',
  message: 'must not be below /spire, which is reserved for the CA and its agents',
  holds: ({ path }) => path !== '/spire' && !path.startsWith('/spire/'),
});

const fields = object({
  spiffeID: required('The SPIFFE ID.', workloadId),
  parentID: required(
    'SPIFFE ID of the agent, or group of agents, whose workload this is; `spiffe://<trust domain>/spire/server` to name a group of agents.',
    spiffeIdWithPath,
  ),
  selectors: required(
    'What the workload must be attested as, each `type:value`. All must hold.',
    list(selector, { minItems: 1, maxItems: 64, kind: 'set' }),
  ),
  federatesWith: optional('Other trust domains whose bundles the workload gets.', trustDomains, []),
  x509SVIDTTL: optional("Lifetime of X509-SVIDs. Without it: the CA's default.", lifetime),
  jwtSVIDTTL: optional("Lifetime of JWT-SVIDs. Without it: the CA's default.", lifetime),
  dnsNames: optional('DNS names for the X509-SVID.', list(dnsName, { maxItems: 64, kind: 'set' }), []),
  hint: optional('Told to the workload, so that it can tell its SVIDs apart.', hint, ''),
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
  storeSVID: optional('Whether the agent puts the SVID into a store rather than handing it to a workload.', boolean, false),
  className: optional('Which controller is to act on this resource, where there are several.', className, ''),
  jwtClaims: optional(
    "Further claims of JWT-SVIDs, any JSON of up to 16 levels, as they stand. The CA's own claims (`iss`, `sub`, `aud`, `exp`, `nbf`, `iat`, `jti`, `cnf`, `act`) are refused.",
    jwtClaims,
    {},
  ),
  workload: optional(
    'What policies are to take the workload for that go by namespaces and service accounts. Pods have their own; what runs without Kubernetes has none unless it is said here.',
    workload,
  ),
});

const spec = ruled(fields, {
  cel: 'self.spiffeID.split("/")[2] == self.parentID.split("/")[2]',
  message: 'must be of the same trust domain as spiffeID',
  at: 'parentID',
  holds: ({ spiffeID, parentID }) => parentID.isMemberOf(spiffeID.trustDomain),
});

const type = {
  group: 'countersign.dev',
  version: 'v1alpha1',
  kind: 'StaticIdentity',
  plural: 'staticidentities',
  namespaced: false,
} as const;

/** StaticIdentity: one registration entry, for a workload outside of the cluster. A superset of SPIRE's ClusterStaticEntry. */
export const STATIC_IDENTITY: ResourceDefinition<ValueOf<typeof fields>> = {
  type,
  shortNames: ['sti'],
  description:
    'Registers one identity as it stands, for a workload that is no pod of this cluster, or for a group of agents. It has all that a ClusterStaticEntry of SPIRE has, under the same names.',
  spec,
  status: staticStatus,
  columns: [
    { name: 'SPIFFE ID', type: 'string', jsonPath: '.spec.spiffeID' },
    { name: 'Parent ID', type: 'string', jsonPath: '.spec.parentID', priority: 1 },
    { name: 'Set', type: 'boolean', jsonPath: '.status.set' },
    ...READY_COLUMNS,
  ],
  example: `
apiVersion: countersign.dev/v1alpha1
kind: StaticIdentity
metadata:
  name: billing-database
spec:
  spiffeID: spiffe://example.org/billing/database
  parentID: spiffe://example.org/hosts/database-1
  selectors:
    - unix:user:postgres
  dnsNames:
    - database-1.example.org
  x509SVIDTTL: 4h
`,
};

const parse = parserOf(type, spec);

/** Reads a StaticIdentity. @throws DecodeError that names every faulty field */
export function parseStaticIdentity(object: unknown): StaticDeclaration {
  const { meta, spec: read } = parse(object);
  const { spiffeID, parentID, x509SVIDTTL, jwtSVIDTTL, storeSVID, ...same } = read;
  return {
    ...same,
    kind: 'StaticIdentity',
    meta,
    spiffeId: spiffeID,
    parentId: parentID,
    x509SvidTtl: x509SVIDTTL,
    jwtSvidTtl: jwtSVIDTTL,
    storeSvid: storeSVID,
    className: presentOr(read.className, undefined),
  };
}
