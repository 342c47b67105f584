// Faults of specifications, each as the one field that is changed, with the field that must be named.

/** One faulty specification: the full one of its kind with this field set to this value. */
export interface BadSpec {
  readonly kind: string;
  /** Path below `spec` of what is set, such as `podSelector.matchLabels`. */
  readonly set: string;
  readonly to: unknown;
  /** The field that is named, below `spec`, where it is not the one that is set. */
  readonly named?: string;
}

const LONG = 'a'.repeat(5000);
const many = (count: number, item: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, index) => item(index));

function lifetimes(kind: string, field: string): BadSpec[] {
  const values = ['', '0s', '9s', '9.999s', '8761h', '1d', '90', '-1h', '1h ', 'soon', '500ms', '999999999h', 90, null];
  return values.filter((to) => to !== null).map((to) => ({ kind, set: field, to }));
}

function selectors(kind: string, field: string): BadSpec[] {
  const expression = (to: unknown, named?: string): BadSpec => ({
    kind,
    set: `${field}.matchExpressions`,
    to: [to],
    named: `${field}.matchExpressions[0]${named ?? ''}`,
  });
  const labels = (to: unknown): BadSpec => ({ kind, set: `${field}.matchLabels`, to });
  return [
    expression({ key: 'a', operator: 'In' }, '.values'),
    expression({ key: 'a', operator: 'NotIn', values: [] }, '.values'),
    expression({ key: 'a', operator: 'Exists', values: ['b'] }, '.values'),
    expression({ key: 'a', operator: 'DoesNotExist', values: ['b'] }, '.values'),
    expression({ key: 'a', operator: 'Equals', values: ['b'] }, '.operator'),
    expression({ key: 'a b', operator: 'Exists' }, '.key'),
    expression({ key: '', operator: 'Exists' }, '.key'),
    expression({ operator: 'Exists' }, '.key'),
    expression({ key: 'a', operator: 'In', values: ['b c'] }, '.values[0]'),
    expression({ key: 'a', operator: 'In', values: ['a'.repeat(64)] }, '.values[0]'),
    expression('a=b'),
    { kind, set: `${field}.matchExpressions`, to: many(33, (n) => `l${n}`).map((key) => ({ key, operator: 'Exists' })) },
    { ...labels({ a: 'b c' }), named: `${field}.matchLabels.a` },
    { ...labels({ a: 1 }), named: `${field}.matchLabels.a` },
    { ...labels({ a: null }), named: `${field}.matchLabels` },
    labels({}),
    labels({ 'a b': 'c' }),
    labels({ '/a': 'c' }),
    labels({ 'A.b/c': 'd' }),
    labels({ ['a'.repeat(64)]: 'c' }),
    labels(Object.fromEntries(many(65, (n) => `l${n}`).map((key) => [key, '']))),
    labels(['a']),
    { kind, set: field, to: 'a=b' },
  ];
}

const CLUSTER = 'ClusterWorkloadIdentity';
const NAMESPACED = 'WorkloadIdentity';
const STATIC = 'StaticIdentity';
const FEDERATED = 'FederatedTrustDomain';

function claims(kind: string): BadSpec[] {
  const names = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'cnf', 'act'];
  return [
    ...names.map((name) => ({ kind, set: 'jwtClaims', to: { [name]: 'x' }, named: `jwtClaims.${name}` })),
    { kind, set: 'jwtClaims', to: { aud: ['x'] }, named: 'jwtClaims.aud' },
    { kind, set: 'jwtClaims', to: Object.fromEntries(many(65, (n) => `c${n}`).map((name) => [name, 1])) },
    { kind, set: 'jwtClaims', to: 'team=payments' },
    { kind, set: 'jwtClaims', to: ['team'] },
  ];
}

function trustDomains(kind: string): BadSpec[] {
  const bad = ['spiffe://a', 'A', 'a/b', '', 'a'.repeat(256), 7];
  return [
    ...bad.map((to) => ({ kind, set: 'federatesWith', to: [to], named: 'federatesWith[0]' })),
    { kind, set: 'federatesWith', to: many(65, (n) => `d${n}`) },
    { kind, set: 'federatesWith', to: ['a', 'b', 'a'], named: 'federatesWith[2]' },
    { kind, set: 'federatesWith', to: 'a' },
  ];
}

function common(kind: string): BadSpec[] {
  return [
    { kind, set: 'surprise', to: 1 },
    { kind, set: 'className', to: LONG },
    { kind, set: 'className', to: 1 },
  ];
}

function truths(kind: string, fields: readonly string[]): BadSpec[] {
  return fields.flatMap((set) => ['yes', 1, []].map((to) => ({ kind, set, to })));
}

const HINTS = ['é'.repeat(513), LONG, 1];
const hints = (kind: string): BadSpec[] => HINTS.map((to) => ({ kind, set: 'hint', to }));

const BAD_IDS = [
  'example.org/a',
  'https://example.org/a',
  'spiffe:///a',
  'spiffe://Example.org/a',
  'spiffe://example.org',
  'spiffe://example.org/',
  'spiffe://example.org/a/',
  'spiffe://example.org//a',
  'spiffe://example.org/.',
  'spiffe://example.org/a/../b',
  'spiffe://example.org/a%20b',
  'spiffe://example.org/a b',
  'spiffe://example.org/a\n',
  'spiffe://example.org/a?b',
  'spiffe://user@example.org/a',
  'spiffe://example.org:80/a',
  `spiffe://${'a'.repeat(256)}/a`,
  `spiffe://example.org/${LONG}`,
  '',
  7,
];

const BAD_URLS = [
  '',
  'http://example.org/bundle',
  'https:///bundle',
  'https://user@example.org/bundle',
  'https://user:password@example.org/bundle',
  'https://example.org/bundle#top',
  'https://example.org/a b',
  'https://example.org/%zz',
  'https://example.org:port/',
  'HTTPS://example.org/',
  `https://example.org/${LONG}`,
  7,
];

/** Every fault that a specification of ours can have. */
export const BAD_SPECS: readonly BadSpec[] = [
  ...['', 'https://example.org', 'ns/{{ .PodMeta.Namespace }}', `spiffe://${LONG}`, 7, undefined].map((to) => ({
    kind: CLUSTER,
    set: 'spiffeIDTemplate',
    to,
  })),
  ...selectors(CLUSTER, 'podSelector'),
  ...selectors(CLUSTER, 'namespaceSelector'),
  ...lifetimes(CLUSTER, 'ttl'),
  ...lifetimes(CLUSTER, 'jwtTtl'),
  ...trustDomains(CLUSTER),
  ...truths(CLUSTER, ['admin', 'downstream', 'autoPopulateDNSNames', 'fallback']),
  ...claims(CLUSTER),
  ...hints(CLUSTER),
  ...common(CLUSTER),
  { kind: CLUSTER, set: 'fallback', to: true, named: 'admin' },
  { kind: CLUSTER, set: 'fallback', to: true, named: 'downstream' },
  { kind: CLUSTER, set: 'dnsNameTemplates', to: [''], named: 'dnsNameTemplates[0]' },
  { kind: CLUSTER, set: 'dnsNameTemplates', to: ['a', LONG], named: 'dnsNameTemplates[1]' },
  { kind: CLUSTER, set: 'dnsNameTemplates', to: many(65, (n) => `d${n}`) },
  { kind: CLUSTER, set: 'workloadSelectorTemplates', to: ['k8s'], named: 'workloadSelectorTemplates[0]' },
  { kind: CLUSTER, set: 'workloadSelectorTemplates', to: [':ns'], named: 'workloadSelectorTemplates[0]' },
  { kind: CLUSTER, set: 'workloadSelectorTemplates', to: many(65, (n) => `k8s:d${n}`) },
  ...['', '/a', 'a'.repeat(2049), 7, undefined].map((to) => ({ kind: NAMESPACED, set: 'pathTemplate', to })),
  ...selectors(NAMESPACED, 'podSelector'),
  ...lifetimes(NAMESPACED, 'ttl'),
  ...lifetimes(NAMESPACED, 'jwtTtl'),
  ...truths(NAMESPACED, ['autoPopulateDNSNames']),
  ...hints(NAMESPACED),
  ...common(NAMESPACED),
  // What an application team must not declare.
  ...['admin', 'downstream', 'fallback'].map((set) => ({ kind: NAMESPACED, set, to: true })),
  ...['federatesWith', 'dnsNameTemplates', 'dnsNames'].map((set) => ({ kind: NAMESPACED, set, to: ['a'] })),
  { kind: NAMESPACED, set: 'jwtClaims', to: { team: 'a' } },
  { kind: NAMESPACED, set: 'namespaceSelector', to: {} },
  { kind: NAMESPACED, set: 'spiffeIDTemplate', to: 'spiffe://example.org/a' },
  ...BAD_IDS.map((to) => ({ kind: STATIC, set: 'spiffeID', to })),
  ...['spiffe://example.org/spire', 'spiffe://example.org/spire/agent/a', undefined].map((to) => ({
    kind: STATIC,
    set: 'spiffeID',
    to,
  })),
  ...[...BAD_IDS, 'spiffe://other.example/host', undefined].map((to) => ({ kind: STATIC, set: 'parentID', to })),
  ...['unix', ':a', 'unix:', 'unix:\n', '', `unix:${LONG}`, 7].map((to) => ({
    kind: STATIC,
    set: 'selectors',
    to: [to],
    named: 'selectors[0]',
  })),
  { kind: STATIC, set: 'selectors', to: [] },
  { kind: STATIC, set: 'selectors', to: undefined },
  { kind: STATIC, set: 'selectors', to: ['a:b', 'a:c', 'a:b'], named: 'selectors[2]' },
  { kind: STATIC, set: 'selectors', to: many(65, (n) => `a:${n}`) },
  ...lifetimes(STATIC, 'x509SVIDTTL'),
  ...lifetimes(STATIC, 'jwtSVIDTTL'),
  ...trustDomains(STATIC),
  ...['a b', '-a', 'a-', 'a..b', 'a.', '*', 'a.*.b', '', 'ä.example', 'a.'.repeat(127), 7].map((to) => ({
    kind: STATIC,
    set: 'dnsNames',
    to: [to],
    named: 'dnsNames[0]',
  })),
  { kind: STATIC, set: 'dnsNames', to: ['a', 'a'], named: 'dnsNames[1]' },
  ...truths(STATIC, ['admin', 'downstream', 'storeSVID']),
  ...claims(STATIC),
  ...hints(STATIC),
  ...common(STATIC),
  ...['', 'spiffe://partner.example', 'Partner', 'a:80', 'a'.repeat(256), undefined].map((to) => ({
    kind: FEDERATED,
    set: 'trustDomain',
    to,
  })),
  ...[...BAD_URLS, undefined].map((to) => ({ kind: FEDERATED, set: 'bundleEndpointURL', to })),
  { kind: FEDERATED, set: 'bundleEndpointProfile', to: undefined },
  { kind: FEDERATED, set: 'bundleEndpointProfile.type', to: 'https' },
  { kind: FEDERATED, set: 'bundleEndpointProfile.type', to: undefined },
  { kind: FEDERATED, set: 'bundleEndpointProfile.endpointSPIFFEID', to: undefined },
  { kind: FEDERATED, set: 'bundleEndpointProfile.endpointSPIFFEID', to: 'partner.example' },
  { kind: FEDERATED, set: 'bundleEndpointProfile.type', to: 'https_web', named: 'bundleEndpointProfile.endpointSPIFFEID' },
  { kind: FEDERATED, set: 'bundleEndpointProfile.surprise', to: 1 },
  { kind: FEDERATED, set: 'trustDomainBundle', to: 7 },
  { kind: FEDERATED, set: 'trustDomainBundle', to: 'a'.repeat(524_289) },
  ...common(FEDERATED),
];

/** The specification with a field at a path set, or removed where the value is undefined. */
export function withField(spec: Readonly<Record<string, unknown>>, path: string, value: unknown): Record<string, unknown> {
  const [first = '', ...rest] = path.split('.');
  const changed = { ...spec };
  // The cast is sound: paths lead through objects.
  const inner = (spec[first] ?? {}) as Record<string, unknown>;
  if (rest.length > 0) changed[first] = withField(inner, rest.join('.'), value);
  else if (value === undefined) delete changed[first];
  else changed[first] = value;
  return changed;
}
