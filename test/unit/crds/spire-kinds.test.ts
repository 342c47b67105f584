import { describe, expect, test } from 'vitest';
import { parseClusterFederatedTrustDomain } from '../../../crds/spire/cluster-federated-trust-domain.ts';
import { parseClusterSpiffeId } from '../../../crds/spire/cluster-spiffe-id.ts';
import { parseClusterStaticEntry } from '../../../crds/spire/cluster-static-entry.ts';
import { parseGoDuration } from '../../../crds/spire/go-duration.ts';
import { faultsOf, objectOf } from '../../support/resources/objects.ts';
import { SPIRE_SPECS } from '../../support/resources/spire-specs.ts';

test.each(Object.entries(SPIRE_SPECS))('%s: what its own schema admits is read', (kind, specs) => {
  for (const spec of specs) expect(faultsOf(kind, objectOf(kind, spec))).toEqual([]);
});

describe('ClusterSPIFFEID', () => {
  const minimal = { spiffeIDTemplate: 'spiffe://example.org/a' };

  test('the least that there can be', () => {
    const { meta, ...rest } = parseClusterSpiffeId(objectOf('ClusterSPIFFEID', minimal));
    expect(meta.name).toBe('example');
    expect(rest).toEqual({
      kind: 'ClusterSPIFFEID',
      spiffeIdTemplate: 'spiffe://example.org/a',
      pathTemplate: undefined,
      podSelector: undefined,
      namespaceSelector: undefined,
      dnsNameTemplates: [],
      workloadSelectorTemplates: [],
      ttl: undefined,
      jwtTtl: undefined,
      federatesWith: [],
      admin: false,
      downstream: false,
      autoPopulateDnsNames: false,
      fallback: false,
      className: undefined,
      hint: '',
      jwtClaims: {},
    });
  });

  test('what its own schema leaves open is admitted', () => {
    const spec = {
      spiffeIDTemplate: `{{/* ${'a'.repeat(10_000)} */}}`,
      dnsNameTemplates: ['', 'b', 'b'],
      workloadSelectorTemplates: ['anything'],
      ttl: '0s',
      jwtTtl: '1h0m0.5s',
      federatesWith: ['spiffe://a.example', 'spiffe://b.example/some/path', 'c.example', 'c.example'],
      podSelector: {},
      className: '',
      hint: '',
      admin: true,
      fallback: true,
      fieldOfALaterVersion: { a: 1 },
    };
    const read = parseClusterSpiffeId(objectOf('ClusterSPIFFEID', spec));
    expect(read).toMatchObject({ ttl: undefined, jwtTtl: { ms: 3_600_500 }, className: undefined, admin: true, fallback: true });
    expect(read.federatesWith.map(String)).toEqual(['a.example', 'b.example', 'c.example', 'c.example']);
    expect(read.podSelector).toEqual({ matchLabels: {}, matchExpressions: [] });
  });

  test.each([
    ['spiffeIDTemplate', ''],
    ['spiffeIDTemplate', undefined],
    ['ttl', 'soon'],
    ['ttl', ''],
    ['jwtTtl', '-1h'],
    ['federatesWith[0]', ['Not A Domain'], 'federatesWith'],
    ['podSelector.matchExpressions[0].values', { matchExpressions: [{ key: 'a', operator: 'In' }] }, 'podSelector'],
    ['podSelector.matchExpressions[0].operator', { matchExpressions: [{ key: 'a', operator: 'in' }] }, 'podSelector'],
    ['admin', 'true'],
  ])('%s: %j is refused', (named, to, set = named) => {
    const faults = faultsOf('ClusterSPIFFEID', objectOf('ClusterSPIFFEID', { ...minimal, [set]: to }));
    expect(faults).toMatchObject([{ path: `spec.${named}` }]);
  });
});

describe('ClusterStaticEntry', () => {
  const minimal = { spiffeID: 'spiffe://example.org/a', parentID: 'spiffe://example.org/b', selectors: ['unix:uid:0'] };

  test('is read', () => {
    const spec = { ...minimal, x509SVIDTTL: '1h', jwtSVIDTTL: '0', storeSVID: true, dnsNames: ['a'], hint: 'h', className: 'c' };
    const read = parseClusterStaticEntry(objectOf('ClusterStaticEntry', spec));
    expect(read).toMatchObject({
      kind: 'ClusterStaticEntry',
      selectors: [{ type: 'unix', value: 'uid:0' }],
      x509SvidTtl: { ms: 3_600_000 },
      jwtSvidTtl: undefined,
      storeSvid: true,
      dnsNames: ['a'],
      hint: 'h',
      className: 'c',
      jwtClaims: {},
    });
    expect([read.spiffeId, read.parentId].map(String)).toEqual([minimal.spiffeID, minimal.parentID]);
  });

  test.each([
    ['spiffeID', 'example.org/a'],
    ['parentID', ''],
    ['selectors[0]', ['unix'], 'selectors'],
    ['selectors[0]', [':a'], 'selectors'],
    ['selectors[0]', ['unix:'], 'selectors'],
    ['selectors', undefined],
  ])('%s: %j is refused', (named, to, set = named) => {
    const faults = faultsOf('ClusterStaticEntry', objectOf('ClusterStaticEntry', { ...minimal, [set]: to }));
    expect(faults).toMatchObject([{ path: `spec.${named}` }]);
  });
});

describe('ClusterFederatedTrustDomain', () => {
  const minimal = {
    trustDomain: 'other.example',
    bundleEndpointURL: 'https://other.example/bundle',
    bundleEndpointProfile: { type: 'https_web' },
  };

  test('is read', () => {
    const endpointSPIFFEID = 'spiffe://other.example/bundle';
    const spec = { ...minimal, bundleEndpointProfile: { type: 'https_spiffe', endpointSPIFFEID }, trustDomainBundle: '{}' };
    const read = parseClusterFederatedTrustDomain(objectOf('ClusterFederatedTrustDomain', spec));
    expect(read).toMatchObject({ bundleEndpointUrl: 'https://other.example/bundle', trustDomainBundle: '{}' });
    expect(JSON.parse(JSON.stringify(read.bundleEndpointProfile))).toEqual({
      type: 'https_spiffe',
      endpointSpiffeId: endpointSPIFFEID,
    });
    const web = parseClusterFederatedTrustDomain(objectOf('ClusterFederatedTrustDomain', minimal));
    expect(web).toMatchObject({ bundleEndpointProfile: { type: 'https_web' }, trustDomainBundle: undefined });
  });

  test.each([
    ['trustDomain', 'Other'],
    ['bundleEndpointURL', 'http://other.example'],
    ['bundleEndpointURL', 'https://'],
    ['bundleEndpointURL', 'https://user@other.example'],
    ['bundleEndpointProfile.type', { type: 'web' }, 'bundleEndpointProfile'],
    ['bundleEndpointProfile.endpointSPIFFEID', { type: 'https_spiffe' }, 'bundleEndpointProfile'],
    ['bundleEndpointProfile.endpointSPIFFEID', { type: 'https_spiffe', endpointSPIFFEID: 'x' }, 'bundleEndpointProfile'],
    ['bundleEndpointProfile.endpointSPIFFEID', { type: 'https_web', endpointSPIFFEID: 'spiffe://a/b' }, 'bundleEndpointProfile'],
  ])('%s: %j is refused', (named, to, set = named) => {
    const object = objectOf('ClusterFederatedTrustDomain', { ...minimal, [set]: to });
    expect(faultsOf('ClusterFederatedTrustDomain', object)).toMatchObject([{ path: `spec.${named}` }]);
  });
});

test.each([
  ['1h', 3_600_000],
  ['1h0m0s', 3_600_000],
  ['1.5h', 5_400_000],
  ['.5s', 500],
  ['5.s', 5000],
  ['+1m', 60_000],
  ['1500ms', 1500],
  ['2000000us', 2000],
  ['2000000µs', 2000],
  ['3000000000ns', 3000],
  ['0', undefined],
  ['-0', undefined],
  ['0h0m', undefined],
])('Go reads the duration %s', (text, ms) => {
  expect(parseGoDuration(text)?.ms).toBe(ms);
});

test.each(['', '1', 'h', '1d', '1h ', ' 1h', '1h-1m', '--1h', '.h', '1,5h', '-1ns', '1'.repeat(1_000_000)])(
  'Go or the CA does not take %j',
  (text) => {
    expect(() => parseGoDuration(text)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  },
);
