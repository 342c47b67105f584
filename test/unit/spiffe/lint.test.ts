import { describe, expect, test } from 'vitest';
import { encodeExtension } from '../../../spiffe/certificate-writer.ts';
import { derBitString, derNull, derTrue, derSequence } from '../../../spiffe/der-writer.ts';
import { KEY_PURPOSE } from '../../../spiffe/extensions.ts';
import { lintX509Authority, lintX509Svid } from '../../../spiffe/lint.ts';
import { createSpiffeId, parseSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { TestCa, issueCertificate } from '../../support/test-ca.ts';
import type { CertificateOptions } from '../../support/test-ca.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const HOUR_MS = 3_600_000;
const ca = TestCa.create({ nowMs: Date.UTC(2026, 5, 1) });
const { nowMs } = ca;
const expected = { nowMs, authorityNotAfterMs: ca.root.certificate.notAfterMs };

describe('lint of an X509-SVID', () => {
  test('passes what issuance builds, signed or not', () => {
    const svid = ca.issueX509Svid('/workload', { dnsNames: ['a.example.org', '*.b.example.org', 'under_score', 'c'] });
    lintX509Svid(svid.der, expected);
    lintX509Svid(svid.certificate.signedPart, { ...expected, id: parseSpiffeId('spiffe://example.org/workload') });
  });

  const faults: readonly (readonly [string, CertificateOptions])[] = [
    ['[X509-SVID §2]', { uris: [] }],
    ['[X509-SVID §2]', { uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] }],
    ['[X509-SVID §3.1]', { uris: ['spiffe://example.org'] }],
    ['[X509-SVID §3.1]', { uris: ['https://example.org/a'] }],
    ['[X509-SVID §4.1]', { isCa: true }],
    ['[X509-SVID §4.3] key usage must have digitalSignature', { keyUsage: ['keyAgreement'] }],
    ['[X509-SVID §4.3] key usage must not have', { keyUsage: ['digitalSignature', 'keyCertSign'] }],
    ['[X509-SVID §4.3] key usage must not have', { keyUsage: ['digitalSignature', 'cRLSign'] }],
    ['[X509-SVID §4.3] key usage must be critical', { keyUsage: null }],
    [
      '[X509-SVID §4.3] key usage must be critical',
      { keyUsage: null, extraExtensions: [encodeExtension('2.5.29.15', derBitString(Uint8Array.of(0x80), 7), false)] },
    ],
    ['[RFC 8813 §3]', { keyUsage: ['digitalSignature', 'keyEncipherment'] }],
    ['[RFC 8813 §3]', { keyUsage: ['digitalSignature', 'keyAgreement'], key: createTestKey('RSA-2048') }],
    ['[RFC 8813 §3]', { keyUsage: ['digitalSignature', 'keyAgreement'], key: createTestKey('Ed25519') }],
    ['[X509-SVID §4.4]', { purposes: null }],
    ['[X509-SVID §4.4]', { purposes: [KEY_PURPOSE.serverAuth] }],
    ['[X509-SVID §4.4]', { purposes: [KEY_PURPOSE.clientAuth] }],
    ['[RFC 5280 §4.1.2.2]', { serial: Uint8Array.of(0) }],
    ['[RFC 5280 §4.2.1.1]', { authorityKeyId: null }],
    ['[RFC 5280 §4.2.1.6] the alternative name must be critical', { subject: {}, isSanCritical: false }],
    ['[RFC 5280 §4.2.1.6] the alternative name must be critical', { isSanCritical: true }],
    ['[RFC 5280 §4.2.1.6] DNS names', { dnsNames: ['a..b'] }],
    ['[RFC 5280 §4.2.1.6] DNS names', { dnsNames: ['-a.example'] }],
    ['[RFC 5280 §4.2.1.6] DNS names', { dnsNames: ['a.*.example'] }],
    ['[RFC 5280 §4.2.1.6] DNS names', { dnsNames: [`${'a'.repeat(64)}.example`] }],
    ['[RFC 5280 §4.2]', { extraExtensions: [encodeExtension('1.2.3', derNull, true)] }],
    ['the key must be', { key: createTestKey('RSA-1024') }],
    ['it must be valid now', { notBeforeMs: nowMs + 1000 }],
    ['it must be valid now', { notAfterMs: nowMs }],
    ['it must not outlive its authority', { notAfterMs: nowMs + 25 * HOUR_MS }],
  ];
  test.each(faults)('finds: %s', (finding, options) => {
    const { der } = ca.issueX509Svid('/workload', options);
    expect(thrownBy(() => lintX509Svid(der, expected))).toMatchObject({ code: 'internal' });
    expect(thrownBy(() => lintX509Svid(der, expected)).message).toContain(finding);
  });

  test('finds an ID other than the one that was asked for', () => {
    const other = { ...expected, id: createSpiffeId(ca.trustDomain, '/other') };
    expect(thrownBy(() => lintX509Svid(ca.issueX509Svid().der, other)).message).toContain('asked for');
  });

  test('lists every finding at once', () => {
    const { der } = ca.issueX509Svid('/workload', { uris: [], purposes: null });
    const { message } = thrownBy(() => lintX509Svid(der, expected));
    expect(message).toContain('§2]');
    expect(message).toContain('§4.4]');
  });

  test('refuses what it cannot read', () => {
    expect(codeOf(() => lintX509Svid(derSequence(derNull), expected))).toBe('invalid_argument');
  });
});

describe('lint of an X.509 authority', () => {
  test('passes roots and intermediates', () => {
    lintX509Authority(ca.root.der);
    lintX509Authority(ca.issueIntermediate({ pathLength: 0 }).der);
    lintX509Authority(ca.issueIntermediate({ uris: [] }).certificate.signedPart);
  });

  const faults: readonly (readonly [string, CertificateOptions])[] = [
    ['[X509-SVID §4.1]', { isCa: false, keyUsage: ['keyCertSign'] }],
    ['[X509-SVID §4.3] key usage must have keyCertSign', { keyUsage: ['cRLSign'] }],
    ['[X509-SVID §4.3]', { keyUsage: null }],
    ['[X509-SVID §2]', { uris: ['spiffe://a', 'spiffe://b'] }],
    ['[X509-SVID §3.2]', { uris: ['spiffe://example.org/path'] }],
    ['[X509-SVID §3.2]', { uris: ['https://example.org'] }],
    ['[RFC 5280 §4.1.2.6]', { subject: {} }],
    ['[RFC 5280 §4.1.2.5]', { notBeforeMs: nowMs, notAfterMs: nowMs }],
    ['[RFC 5280 §4.2]', { extraExtensions: [encodeExtension('1.2.3', derTrue, true)] }],
  ];
  test.each(faults)('finds: %s', (finding, options) => {
    expect(thrownBy(() => lintX509Authority(ca.issueIntermediate(options).der)).message).toContain(finding);
  });

  test('finds an empty issuer', () => {
    const { der } = issueCertificate(undefined, { isCa: true });
    expect(thrownBy(() => lintX509Authority(der)).message).toContain('[RFC 5280 §4.1.2.4]');
  });
});
