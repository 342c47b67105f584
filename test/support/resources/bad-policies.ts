// Faults of policies, each as the one field that is changed.
import type { BadSpec } from './bad-specs.ts';

const AUTHZ = 'AuthorizationPolicy';
const CLUSTER = 'ClusterAuthorizationPolicy';
const AUTHN = 'RequestAuthentication';

const rule = (field: 'from' | 'to', clause: object, named: string): BadSpec => ({
  kind: AUTHZ,
  set: 'rules',
  to: [{ [field]: [clause] }],
  named: `rules[0].${field}[0]${named}`,
});
const from = (clause: object, named: string): BadSpec => rule('from', clause, named);
const to = (clause: object, named: string): BadSpec => rule('to', clause, named);

/** Faulty specifications of the kinds of policies. */
export const BAD_POLICIES: readonly BadSpec[] = [
  { kind: AUTHZ, set: 'action', to: 'PERMIT' },
  { kind: AUTHZ, set: 'mode', to: 'dryrun' },
  { kind: AUTHZ, set: 'failureMode', to: '' },
  { kind: AUTHZ, set: 'targetRefs', to: [], named: 'targetRefs' },
  { kind: AUTHZ, set: 'targetRefs', to: [{ kind: 'Gateway', name: 'a' }], named: 'targetRefs[0].kind' },
  { kind: AUTHZ, set: 'attested', to: ['k8s'], named: 'attested[0]' },
  { kind: AUTHZ, set: 'namespaceSelector', to: {} },
  { kind: AUTHZ, set: 'rules', to: [{ form: [] }], named: 'rules[0].form' },
  { kind: AUTHZ, set: 'rules', to: [{ from: [] }], named: 'rules[0].from' },
  { kind: AUTHZ, set: 'rules', to: [{ when: '' }], named: 'rules[0].when' },
  ...['user:{foo}', 'user:{user.sub}', 'user:{', 'user:}', '{path.}', '{{user.subject}}'].map((user) => ({
    kind: AUTHZ,
    set: 'rules',
    to: [{ relations: [{ user, relation: 'viewer', object: 'order:1' }] }],
    named: 'rules[0].relations[0].user',
  })),
  { kind: AUTHZ, set: 'rules', to: Array.from({ length: 65 }, () => ({})) },
  from({}, ''),
  from({ not: {} }, '.not'),
  from({ spiffeIDs: [] }, '.spiffeIDs'),
  from({ spiffeIDs: ['example.org/a'] }, '.spiffeIDs[0]'),
  from({ spiffeIDs: ['spiffe://example.org//a'] }, '.spiffeIDs[0]'),
  from({ trustDomains: ['Example.org'] }, '.trustDomains[0]'),
  from({ namespaces: [''] }, '.namespaces[0]'),
  from({ serviceAccounts: ['a/b/c'] }, '.serviceAccounts[0]'),
  from({ ipBlocks: ['10.0.0.0/33'] }, '.ipBlocks[0]'),
  from({ ipBlocks: ['10.0.0.256'] }, '.ipBlocks[0]'),
  from({ ipBlocks: ['1::2::3'] }, '.ipBlocks[0]'),
  from({ ipBlocks: ['localhost'] }, '.ipBlocks[0]'),
  from({ users: [{}] }, '.users[0]'),
  from({ user: ['a'] }, '.user'),
  to({}, ''),
  to({ ports: ['0'] }, '.ports[0]'),
  to({ ports: [443] }, '.ports[0]'),
  to({ hosts: ['a*'] }, '.hosts[0]'),
  to({ hosts: ['a:80'] }, '.hosts[0]'),
  to({ methods: ['GET POST'] }, '.methods[0]'),
  to({ paths: [{}] }, '.paths[0]'),
  to({ paths: [{ exact: '/a', prefix: '/b' }] }, '.paths[0]'),
  to({ paths: [{ exact: 'a' }] }, '.paths[0].exact'),
  to({ paths: ['/a'] }, '.paths[0]'),
  to({ paths: [{ regex: 'a'.repeat(513) }] }, '.paths[0].regex'),
  to({ headers: [{ name: 'a' }] }, '.headers[0]'),
  to({ headers: [{ name: 'a b', present: true }] }, '.headers[0].name'),
  to({ headers: [{ exact: 'a' }] }, '.headers[0].name'),
  to({ grpc: [{}] }, '.grpc[0]'),
  { kind: CLUSTER, set: 'targetRefs', to: [{ kind: 'ServiceAccount', name: 'a' }] },
  { kind: CLUSTER, set: 'spiffeIDs', to: ['*'], named: 'spiffeIDs[0]' },
  { kind: CLUSTER, set: 'namespaceSelector', to: { matchLabels: {} }, named: 'namespaceSelector.matchLabels' },
  { kind: AUTHN, set: 'issuers', to: [] },
  { kind: AUTHN, set: 'issuers', to: [{ issuer: 'http://a', audiences: ['b'] }], named: 'issuers[0].issuer' },
  { kind: AUTHN, set: 'issuers', to: [{ issuer: 'https://a' }], named: 'issuers[0].audiences' },
  { kind: AUTHN, set: 'tokens', to: 'required' },
  { kind: AUTHN, set: 'headers', to: ['a b'], named: 'headers[0]' },
];
