import type { JsonMessage } from '../../support/spire-client.ts';
import { group } from './probe.ts';
import type { Probe } from './probe.ts';
import type { World } from './world.ts';

/** The own bundle and foreign ones. */
export function bundleProbes({ authority, publicKey }: World): Probe[] {
  const foreign = (more: JsonMessage = {}): JsonMessage => ({
    trustDomain: 'federated.test',
    x509Authorities: [{ asn1: authority }],
    ...more,
  });
  const badBundles: Record<string, JsonMessage> = {
    'no trust domain': { x509Authorities: [{ asn1: authority }] },
    'a bad trust domain': foreign({ trustDomain: 'not a domain' }),
    'the own trust domain': foreign({ trustDomain: 'example.org' }),
    'a certificate that is not one': foreign({ x509Authorities: [{ asn1: 'eA==' }] }),
    'an empty certificate': foreign({ trustDomain: 'empty.test', x509Authorities: [{}] }),
    'a key without an ID': foreign({ jwtAuthorities: [{ publicKey }] }),
    'a key that is not one': foreign({ jwtAuthorities: [{ publicKey: 'eA==', keyId: 'k' }] }),
    'a negative refresh hint': foreign({ trustDomain: 'negative.test', refreshHint: '-1' }),
  };
  const batches = ['BatchCreateFederatedBundle', 'BatchSetFederatedBundle', 'BatchUpdateFederatedBundle'].flatMap((name) =>
    group({
      as: 'local',
      method: `bundle.v1.Bundle/${name}`,
      requests: {
        ...Object.fromEntries(Object.entries(badBundles).map(([what, bundle]) => [what, { bundle: [bundle] }])),
        'a bundle': {
          bundle: [foreign({ refreshHint: '60', sequenceNumber: '7', jwtAuthorities: [{ publicKey, keyId: 'k' }] })],
        },
        'the same bundle again': { bundle: [foreign()], outputMask: { x509Authorities: true } },
        'an unknown bundle': { bundle: [foreign({ trustDomain: `${name.toLowerCase()}.test` })], outputMask: {} },
      },
    }),
  );
  return [
    ...batches,
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/GetFederatedBundle',
      requests: {
        'a bundle': { trustDomain: 'federated.test' },
        'an unknown bundle': { trustDomain: 'unknown.test' },
        'the own trust domain': { trustDomain: 'example.org' },
        'a bad trust domain': { trustDomain: 'not a domain' },
      },
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/GetBundle',
      requests: { 'a mask': { outputMask: { sequenceNumber: true } } },
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/ListFederatedBundles',
      requests: {
        'a page': { pageSize: 1, outputMask: {} },
        'a page token that is not one': { pageSize: 1, pageToken: 'nonsense' },
      },
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/AppendBundle',
      requests: {
        'a certificate that is not one': { x509Authorities: [{ asn1: 'eA==' }] },
        'a key without an ID': { jwtAuthorities: [{ publicKey }] },
        'a certificate that is there': { x509Authorities: [{ asn1: authority }], outputMask: {} },
        'a key': { jwtAuthorities: [{ publicKey, keyId: 'probe', expiresAt: '4102444800' }], outputMask: {} },
      },
    }),
    ...['PublishJWTAuthority', 'PublishWITAuthority'].flatMap((name) => {
      const field = name === 'PublishJWTAuthority' ? 'jwtAuthority' : 'witAuthority';
      return group({
        as: 'downstream',
        method: `bundle.v1.Bundle/${name}`,
        requests: {
          'a key without an ID': { [field]: { publicKey } },
          'a key that is not one': { [field]: { publicKey: 'eA==', keyId: 'k' } },
          'a key': { [field]: { publicKey, keyId: `probe-${field}`, expiresAt: '4102444800' } },
        },
      });
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/BatchDeleteFederatedBundle',
      requests: {
        'unknown, own and bad': { trustDomains: ['unknown.test', 'example.org', 'not a domain'] },
        'a bundle': { trustDomains: ['federated.test'] },
      },
    }),
  ];
}

/** Federation relationships. */
export function trustDomainProbes({ authority }: World): Probe[] {
  const relationship = (more: JsonMessage = {}): JsonMessage => ({
    trustDomain: 'related.test',
    bundleEndpointUrl: 'https://related.test/bundle',
    httpsWeb: {},
    ...more,
  });
  const bad: Record<string, JsonMessage> = {
    'no trust domain': relationship({ trustDomain: '' }),
    'a bad trust domain': relationship({ trustDomain: 'not a domain' }),
    'the own trust domain': relationship({ trustDomain: 'example.org' }),
    'no URL': relationship({ bundleEndpointUrl: '' }),
    'an http URL': relationship({ bundleEndpointUrl: 'http://related.test/bundle' }),
    'a URL with user information': relationship({ bundleEndpointUrl: 'https://user:secret@related.test/bundle' }),
    'a URL without a host': relationship({ bundleEndpointUrl: 'https:///bundle' }),
    'no profile': relationship({ httpsWeb: undefined }),
    'a SPIFFE profile without an ID': relationship({ httpsWeb: undefined, httpsSpiffe: {} }),
    'a SPIFFE profile with a bad ID': relationship({ httpsWeb: undefined, httpsSpiffe: { endpointSpiffeId: 'https://x' } }),
    'a bundle of another trust domain': relationship({
      trustDomainBundle: { trustDomain: 'x.test', x509Authorities: [{ asn1: authority }] },
    }),
  };
  const batches = ['BatchCreateFederationRelationship', 'BatchUpdateFederationRelationship'].flatMap((name) =>
    group({
      as: 'local',
      method: `trustdomain.v1.TrustDomain/${name}`,
      requests: {
        ...Object.fromEntries(Object.entries(bad).map(([what, each]) => [what, { federationRelationships: [each] }])),
        'a relationship': { federationRelationships: [relationship()] },
        'the same again': { federationRelationships: [relationship()], outputMask: {} },
        'a SPIFFE profile': {
          federationRelationships: [
            relationship({
              trustDomain: 'spiffe.test',
              httpsWeb: undefined,
              httpsSpiffe: { endpointSpiffeId: 'spiffe://spiffe.test/endpoint' },
              trustDomainBundle: { trustDomain: 'spiffe.test', x509Authorities: [{ asn1: authority }] },
            }),
          ],
        },
        'an unknown one': {
          federationRelationships: [relationship({ trustDomain: `${name.toLowerCase()}.test` })],
          outputMask: {},
        },
      },
    }),
  );
  const named: Record<string, JsonMessage> = {
    'a relationship': { trustDomain: 'related.test' },
    'an unknown one': { trustDomain: 'unknown.test' },
    'a bad trust domain': { trustDomain: 'not a domain' },
  };
  return [
    ...batches,
    ...group({ as: 'local', method: 'trustdomain.v1.TrustDomain/GetFederationRelationship', requests: named }),
    ...group({
      as: 'local',
      method: 'trustdomain.v1.TrustDomain/ListFederationRelationships',
      requests: {
        'a page': { pageSize: 1, outputMask: {} },
        'a page token that is not one': { pageSize: 1, pageToken: 'nonsense' },
      },
    }),
    ...group({
      as: 'local',
      method: 'trustdomain.v1.TrustDomain/RefreshBundle',
      requests: { 'an unknown one': { trustDomain: 'unknown.test' }, 'a bad trust domain': { trustDomain: 'not a domain' } },
    }),
    ...group({
      as: 'local',
      method: 'trustdomain.v1.TrustDomain/BatchDeleteFederationRelationship',
      requests: { 'known, unknown and bad': { trustDomains: ['related.test', 'unknown.test', 'not a domain'] } },
    }),
  ];
}
