import { describe, expect, it } from 'vitest';

import { clusterTrustBundleName } from '../../../../controller/bundles/cluster-trust-bundle-publisher.ts';
import { digestOf, publishedBundle } from '../../../../controller/bundles/published-bundle.ts';
import { Bundle, parseBundleDocument } from '../../../../spiffe/bundle.ts';
import { decodePem } from '../../../../spiffe/pem.ts';
import { TestCa } from '../../../support/test-ca.ts';

const ca = TestCa.create();

describe('what is published of a bundle', () => {
  it('is its authorities as PEM, each once, and all its keys as a document', () => {
    const { x509Authorities } = ca.bundle();
    const published = publishedBundle(ca.bundle({ x509Authorities: [...x509Authorities, ...x509Authorities] }));
    expect(decodePem(published?.pem ?? '', 'CERTIFICATE')).toEqual([new Uint8Array(ca.root.der)]);
    const read = parseBundleDocument(published?.document ?? '', ca.trustDomain);
    expect([read.x509Authorities.length, [...read.jwtAuthorities.keys()]]).toEqual([2, [ca.jwtKeyId]]);
  });

  it('does not change with the sequence number', () => {
    expect(publishedBundle(ca.bundle({ sequenceNumber: 1n }))).toEqual(publishedBundle(ca.bundle({ sequenceNumber: 2n })));
  });

  it('is nothing at all for a bundle without authorities', () => {
    expect(publishedBundle(new Bundle({ trustDomain: ca.trustDomain }))).toBeUndefined();
  });

  it('has a name that begins with the signer', () => {
    expect(clusterTrustBundleName('countersign.dev/svid', 'cluster.local')).toBe('countersign.dev:svid:cluster.local');
  });
});

describe('the digest of texts', () => {
  it('is of the texts, whatever their order', () => {
    expect(digestOf({ a: '1', b: '2' })).toBe(digestOf({ b: '2', a: '1' }));
    expect(digestOf({ a: '1' })).not.toBe(digestOf({ a: '2' }));
    expect(digestOf({ a: '1,b' })).not.toBe(digestOf({ a: '1', b: '' }));
  });
});
