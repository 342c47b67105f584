import { describe, expect, test } from 'vitest';
import {
  Bundle,
  JwtAuthority,
  X509Authority,
  formatBundleDocument,
  parseBundleDocument,
  parseBundleMap,
} from '../../../spiffe/bundle.ts';
import { formatJwk } from '../../../spiffe/jwk.ts';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { TestCa } from '../../support/test-ca.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { thrownBy } from '../../support/thrown-by.ts';

const ca = TestCa.create({ nowMs: Date.UTC(2026, 5, 1) });
const { trustDomain } = ca;
const x5c = [Buffer.from(ca.root.der).toString('base64')];
const x509Key = { ...formatJwk(ca.root.key.publicKey), use: 'x509-svid', x5c };
const jwtKey = { ...formatJwk(ca.jwtKey.publicKey), use: 'jwt-svid', kid: 'k1' };
const witKey = { ...formatJwk(ca.witKey.publicKey), use: 'wit-svid', kid: 'k2' };
const parse = (document: unknown): Bundle => parseBundleDocument(JSON.stringify(document), trustDomain);

/** The JSON of a document that this project wrote. */
function written(text: string): { keys: Record<string, unknown>[]; spiffe_sequence?: number; spiffe_refresh_hint?: number } {
  // The cast is sound for what formatBundleDocument writes; the tests below check it.
  return JSON.parse(text) as ReturnType<typeof written>;
}

describe('bundle', () => {
  test('holds its authorities by key ID and is a copy of what it was made of', () => {
    const x509Authorities = [new X509Authority(ca.root.der)];
    const bundle = new Bundle({ trustDomain, x509Authorities, jwtAuthorities: [new JwtAuthority('k1', ca.jwtKey.spki)] });
    x509Authorities.pop();
    expect(bundle.x509Authorities).toHaveLength(1);
    expect(bundle.jwtAuthorities.get('k1')?.publicKey.equals(ca.jwtKey.publicKey)).toBe(true);
    expect(bundle.witAuthorities.size).toBe(0);
  });

  test('reads authorities on first use and keeps what it read', () => {
    const authority = new X509Authority(ca.root.der, { tainted: true });
    expect(authority.certificate).toBe(authority.certificate);
    expect(authority.tainted).toBe(true);
    const broken = new X509Authority(Uint8Array.of(1));
    expect(thrownBy(() => broken.certificate)).toMatchObject({ code: 'invalid_argument', field: 'x509_authority' });
    const key = new JwtAuthority('k', ca.jwtKey.spki, { expiresAtMs: 5, tainted: true });
    expect(key.publicKey).toBe(key.publicKey);
    expect(key).toMatchObject({ expiresAtMs: 5, tainted: true });
    expect(new JwtAuthority('k', ca.jwtKey.spki, { publicKey: ca.jwtKey.publicKey }).publicKey).toBe(ca.jwtKey.publicKey);
  });
});

describe('reading a bundle document', () => {
  test('[Trust Domain and Bundle §4] reads a JWK set', () => {
    const bundle = parse({ keys: [x509Key, jwtKey, witKey], spiffe_sequence: 7, spiffe_refresh_hint: 300 });
    expect(bundle.trustDomain).toBe(trustDomain);
    expect(bundle.x509Authorities.map(({ der }) => der)).toEqual([ca.root.der]);
    expect([...bundle.jwtAuthorities.keys()]).toEqual(['k1']);
    expect(bundle.witAuthorities.get('k2')?.publicKey.equals(ca.witKey.publicKey)).toBe(true);
    expect(bundle).toMatchObject({ sequenceNumber: 7n, refreshHintSeconds: 300 });
    expect(parseBundleDocument(Buffer.from('{"keys":[]}'), trustDomain).x509Authorities).toEqual([]);
  });

  test('[Trust Domain and Bundle §4.1] parameters that are not defined MUST NOT be required, and may be there', () => {
    expect(parse({ keys: [jwtKey], foo: { bar: 1 } }).jwtAuthorities.size).toBe(1);
    expect(parse({ keys: [] })).toMatchObject({ sequenceNumber: undefined, refreshHintSeconds: undefined });
  });

  test('[Trust Domain and Bundle §4.1.1] a sequence number keeps 64 bits of precision', () => {
    const sequence = 2n ** 64n - 1n;
    expect(parseBundleDocument(`{"keys":[],"spiffe_sequence":${sequence}}`, trustDomain).sequenceNumber).toBe(sequence);
    expect(parseBundleDocument(`{"keys":[],"spiffe_sequence":9007199254740993}`, trustDomain).sequenceNumber).toBe(
      9007199254740993n,
    );
  });

  test.each([-1, 1.5, '7', null, 2e300])(
    '[Trust Domain and Bundle §4.1.1] [Trust Domain and Bundle §4.1.2] %j is no whole number',
    (value) => {
      expect(thrownBy(() => parse({ keys: [], spiffe_sequence: value }))).toMatchObject({ field: 'bundle.spiffe_sequence' });
      expect(thrownBy(() => parse({ keys: [], spiffe_refresh_hint: value }))).toMatchObject({
        field: 'bundle.spiffe_refresh_hint',
      });
    },
  );

  test('a sequence number beyond 64 bits is refused', () => {
    const document = `{"keys":[],"spiffe_sequence":${2n ** 64n}}`;
    expect(thrownBy(() => parseBundleDocument(document, trustDomain)).code).toBe('invalid_argument');
  });

  test.each([{}, { keys: null }, { keys: {} }, { keys: 'x' }])(
    '[Trust Domain and Bundle §4.1.3] keys MUST be present: %j',
    (document) => {
      expect(thrownBy(() => parse(document))).toMatchObject({ code: 'invalid_argument', field: 'bundle.keys' });
    },
  );

  test('[Trust Domain and Bundle §4.1.3] an empty list of keys is a bundle that trusts nothing', () => {
    const bundle = parse({ keys: [] });
    expect(bundle.x509Authorities).toEqual([]);
    expect(bundle.jwtAuthorities.size + bundle.witAuthorities.size).toBe(0);
  });

  test.each([
    ['[Trust Domain and Bundle §4.2.1] of unknown type', { ...jwtKey, kty: 'OKP', crv: 'Ed25519' }],
    ['[Trust Domain and Bundle §4.2.1] of unknown curve', { ...jwtKey, crv: 'secp256k1' }],
    ['[Trust Domain and Bundle §4.2.1] without type', { ...jwtKey, kty: undefined }],
    ['[Trust Domain and Bundle §4.2.2] of unknown use', { ...jwtKey, use: 'sig' }],
    ['[Trust Domain and Bundle §4.2.2] of a use in other case', { ...jwtKey, use: 'JWT-SVID' }],
    ['[Trust Domain and Bundle §4.2.2] without use', { ...jwtKey, use: undefined }],
    ['[X509-SVID §6.2] for X509-SVIDs without x5c', { ...x509Key, x5c: undefined }],
    ['[X509-SVID §6.2] for X509-SVIDs with an empty x5c', { ...x509Key, x5c: [] }],
  ])('a key %s MUST be ignored', (_what, key) => {
    const bundle = parse({ keys: [key, { ...jwtKey, kid: 'other' }] });
    expect([...bundle.jwtAuthorities.keys()]).toEqual(['other']);
    expect(bundle.x509Authorities).toEqual([]);
  });

  test('[X509-SVID §6.2] all certificates but the first MUST be ignored', () => {
    const bundle = parse({ keys: [{ ...x509Key, x5c: [...x5c, 'nonsense'] }] });
    expect(bundle.x509Authorities).toHaveLength(1);
  });

  test('[JWT-SVID §6.2] [WIT-SVID §6.2] keys of each SVID type are kept apart', () => {
    const bundle = parse({ keys: [x509Key, jwtKey, witKey] });
    expect(bundle.jwtAuthorities.has('k2')).toBe(false);
    expect(bundle.witAuthorities.has('k1')).toBe(false);
  });

  test.each([
    ['[JWT-SVID §6.1] without kid', [{ ...jwtKey, kid: undefined }], 'bundle.keys[0].kid'],
    ['[JWT-SVID §6.1] with an empty kid', [{ ...jwtKey, kid: '' }], 'bundle.keys[0].kid'],
    ['[WIT-SVID §6.1] without kid', [{ ...witKey, kid: 7 }], 'bundle.keys[0].kid'],
    ['[WIT-SVID §6.1] with the kid of another WIT key', [witKey, witKey], 'bundle.keys[1]'],
    ['[WIT-SVID §6.1] with the kid of a JWT key', [jwtKey, { ...witKey, kid: 'k1' }], 'bundle.keys[1]'],
    ['with the kid of another JWT key', [jwtKey, jwtKey], 'bundle.keys[1]'],
    ['that is no object', ['key'], 'bundle.keys[0]'],
    ['that is broken', [{ ...jwtKey, x: 'AAAA' }], 'bundle.keys[0]'],
    ['that is private', [x509Key, { ...jwtKey, d: 'AAAA' }], 'bundle.keys[1]'],
    ['with a certificate that is not base64', [{ ...x509Key, x5c: ['*'] }], 'bundle.keys[0].x5c[0]'],
    ['with a certificate that is no text', [{ ...x509Key, x5c: [7] }], 'bundle.keys[0].x5c[0]'],
    ['with x5c that is no list', [{ ...x509Key, x5c: x5c[0] }], 'bundle.keys[0].x5c[0]'],
    ['with a certificate that cannot be read', [{ ...x509Key, x5c: ['AAAA'] }], 'bundle.keys[0].x5c[0]'],
  ])('a key %s is refused and named', (_what, keys, field) => {
    expect(thrownBy(() => parse({ keys }))).toMatchObject({ code: 'invalid_argument', field });
  });

  test.each(['', '[]', '{"keys":[],"keys":[]}', 'null', '{'])('%j is refused', (text) => {
    expect(thrownBy(() => parseBundleDocument(text, trustDomain))).toMatchObject({ code: 'invalid_argument', field: 'bundle' });
  });
});

describe('writing a bundle document', () => {
  const bundle = ca.bundle({ sequenceNumber: 2n ** 63n, refreshHintSeconds: 300 });

  test('reads back as the same', () => {
    const text = formatBundleDocument(bundle);
    const again = parseBundleDocument(text, trustDomain);
    expect(formatBundleDocument(again)).toBe(text);
    expect(again.sequenceNumber).toBe(2n ** 63n);
    expect(again.x509Authorities.map(({ der }) => Buffer.from(der).toString('hex'))).toEqual([
      Buffer.from(ca.root.der).toString('hex'),
    ]);
  });

  test('[X509-SVID §6.1] use MUST be x509-svid, kid MUST NOT be set, x5c MUST hold exactly one certificate', () => {
    const { keys } = written(formatBundleDocument(bundle, { include: ['x509'] }));
    expect(keys).toEqual([{ ...formatJwk(ca.root.key.publicKey), use: 'x509-svid', x5c }]);
    expect(keys[0]).not.toHaveProperty('kid');
  });

  test('[JWT-SVID §6.1] use MUST be jwt-svid and kid MUST be set', () => {
    const { keys } = written(formatBundleDocument(bundle, { include: ['jwt'] }));
    expect(keys).toEqual([{ ...formatJwk(ca.jwtKey.publicKey), use: 'jwt-svid', kid: ca.jwtKeyId }]);
  });

  test('[WIT-SVID §6.1] use MUST be wit-svid and kid MUST be set', () => {
    const { keys } = written(formatBundleDocument(bundle, { include: ['wit'] }));
    expect(keys).toEqual([{ ...formatJwk(ca.witKey.publicKey), use: 'wit-svid', kid: ca.witKeyId }]);
  });

  test('[Trust Domain and Bundle §4.2.1] [Trust Domain and Bundle §4.2.2] kty and use MUST be set on every key', () => {
    for (const key of written(formatBundleDocument(bundle)).keys) {
      expect(key['kty']).toBe('EC');
      expect(key['use']).toMatch(/^(x509|jwt|wit)-svid$/);
    }
  });

  test('[Trust Domain and Bundle §4.1.1] [Trust Domain and Bundle §4.1.2] sequence and refresh hint SHOULD be set', () => {
    const text = formatBundleDocument(bundle);
    expect(text).toContain('"spiffe_sequence":9223372036854775808');
    expect(written(text).spiffe_refresh_hint).toBe(300);
    expect(formatBundleDocument(ca.bundle())).not.toContain('spiffe_');
  });

  test('[Trust Domain and Bundle §4.1.3] keys MUST be present, also when there is none', () => {
    expect(formatBundleDocument(new Bundle({ trustDomain }))).toBe('{"keys":[]}');
  });

  test('as standard JWK set has neither use nor SPIFFE parameters', () => {
    const document = written(formatBundleDocument(bundle, { include: ['jwt'], standardJwks: true }));
    expect(document).toEqual({ keys: [{ ...formatJwk(ca.jwtKey.publicKey), kid: ca.jwtKeyId }] });
  });

  test.each(['RSA-2048', 'P-384', 'Ed25519'] as const)('writes an authority with a key of %s', (kind) => {
    const other = TestCa.create({ key: createTestKey(kind) });
    const text = formatBundleDocument(other.bundle());
    expect(parseBundleDocument(text, trustDomain).x509Authorities).toHaveLength(1);
  });
});

describe('bundle map', () => {
  test('[Trust Domain and Bundle §5.1.1] holds bundles by trust domain', () => {
    const map = parseBundleMap(
      JSON.stringify({ trust_domains: { 'example.org': { keys: [jwtKey] }, 'b.example': { keys: [] } } }),
    );
    expect([...map.keys()]).toEqual(['example.org', 'b.example']);
    expect(map.get('example.org')?.trustDomain).toBe(parseTrustDomain('example.org'));
    expect(map.get('example.org')?.jwtAuthorities.size).toBe(1);
  });

  test('[Trust Domain and Bundle §5.1.1] trust_domains MUST be set and MAY be empty', () => {
    expect(parseBundleMap('{"trust_domains":{}}').size).toBe(0);
    for (const text of ['{}', '{"trust_domains":[]}', '{"trust_domains":null}']) {
      expect(thrownBy(() => parseBundleMap(text))).toMatchObject({ code: 'invalid_argument', field: 'bundle_map.trust_domains' });
    }
  });

  test('[Trust Domain and Bundle §5.1.1] [Trust Domain and Bundle §6.3] consumers MUST reject a trust domain that occurs twice', () => {
    const text = '{"trust_domains":{"example.org":{"keys":[]},"example.org":{"keys":[]}}}';
    expect(thrownBy(() => parseBundleMap(text)).code).toBe('invalid_argument');
  });

  test('refuses names that are none, and bundles that are none', () => {
    expect(thrownBy(() => parseBundleMap('{"trust_domains":{"Example.org":{"keys":[]}}}')).code).toBe('invalid_argument');
    expect(thrownBy(() => parseBundleMap('{"trust_domains":{"example.org":[]}}'))).toMatchObject({
      field: 'bundle_map.trust_domains["example.org"]',
    });
    expect(thrownBy(() => parseBundleMap('{"trust_domains":{"example.org":{"keys":[{}, 7]}}}'))).toMatchObject({
      field: 'bundle_map.trust_domains["example.org"].keys[1]',
    });
  });
});
