// Specifications of SPIRE's kinds, as its documentation describes the fields.

/** The least and the most of each, and what its schema leaves open. */
export const SPIRE_SPECS: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>> = {
  ClusterSPIFFEID: [
    { spiffeIDTemplate: 'spiffe://example.org/a' },
    {
      spiffeIDTemplate: 'spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}',
      podSelector: { matchLabels: { banking: 'true' }, matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['b', 'c'] }] },
      namespaceSelector: { matchExpressions: [{ key: 'backend', operator: 'Exists' }] },
      dnsNameTemplates: ['{{ .PodMeta.Name }}.{{ .PodMeta.Namespace }}.{{ .ClusterDomain }}'],
      workloadSelectorTemplates: ['k8s:container-name:app'],
      ttl: '1h30m0s',
      jwtTtl: '300s',
      federatesWith: ['audit.example', 'spiffe://other.example'],
      admin: true,
      downstream: true,
      autoPopulateDNSNames: true,
      fallback: true,
      className: 'spire-system',
      hint: 'internal',
    },
    {
      spiffeIDTemplate: '{{ "" }}',
      podSelector: { matchLabels: {} },
      namespaceSelector: {},
      dnsNameTemplates: [],
      className: '',
      hint: '',
      ttl: '0s',
    },
    { spiffeIDTemplate: 'a'.repeat(10_000), federatesWith: ['a', 'a'], podSelector: null, ttl: null, dnsNameTemplates: null },
  ],
  ClusterStaticEntry: [
    { spiffeID: 'spiffe://example.org/a', parentID: 'spiffe://example.org/spire/server', selectors: ['x509pop:subject:cn:host'] },
    {
      spiffeID: 'spiffe://example.org/a',
      parentID: 'spiffe://example.org/b',
      selectors: ['unix:uid:1000', 'docker:label:a:b'],
      federatesWith: ['audit.example'],
      x509SVIDTTL: '24h',
      jwtSVIDTTL: '5m',
      dnsNames: ['a.example', 'b.example'],
      hint: 'internal',
      admin: true,
      downstream: true,
      storeSVID: true,
      className: 'spire-system',
    },
    { spiffeID: 'spiffe://example.org/a', parentID: 'spiffe://example.org/b', selectors: [] },
  ],
  ClusterFederatedTrustDomain: [
    {
      trustDomain: 'backend',
      bundleEndpointURL: 'https://backend.example/bundle',
      bundleEndpointProfile: { type: 'https_web' },
    },
    {
      trustDomain: 'backend',
      bundleEndpointURL: 'https://backend.example:8443/bundle?a=b',
      bundleEndpointProfile: { type: 'https_spiffe', endpointSPIFFEID: 'spiffe://backend/bundle-endpoint-server' },
      trustDomainBundle: '{ "keys": [] }',
      className: 'spire-system',
    },
    {
      trustDomain: 'backend',
      bundleEndpointURL: 'https://backend.example',
      bundleEndpointProfile: { type: 'https_web', endpointSPIFFEID: '' },
      trustDomainBundle: '',
    },
  ],
};
