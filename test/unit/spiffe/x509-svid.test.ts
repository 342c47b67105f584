import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { X509Authority } from '../../../spiffe/bundle.ts';
import { encodeExtension } from '../../../spiffe/certificate-writer.ts';
import { contextConstructedTag, contextTag } from '../../../spiffe/der.ts';
import { der, derAscii, derNull, derSequence } from '../../../spiffe/der-writer.ts';
import { EXTENSION, KEY_PURPOSE } from '../../../spiffe/extensions.ts';
import { parseX509Svid, parseX509SvidPem, verifyX509Svid } from '../../../spiffe/x509-svid.ts';
import { TestCa, bundleSource, issueCertificate } from '../../support/test-ca.ts';
import type { CertificateOptions, Issued } from '../../support/test-ca.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const HOUR_MS = 3_600_000;
const ca = TestCa.create({ nowMs: Date.UTC(2026, 5, 1) });
const { nowMs } = ca;

const validity = { notBeforeMs: nowMs - HOUR_MS, notAfterMs: nowMs + HOUR_MS };

/** How the verification of a leaf with these options ends: undefined when it is trusted. */
function outcome(options: CertificateOptions = {}, signers: readonly Issued[] = [], path = '/workload'): string | undefined {
  const { chain } = ca.issueX509Svid(path, options, signers);
  return codeOf(() => verifyX509Svid(chain, ca.bundles, nowMs));
}

describe('verification of a leaf', () => {
  test('[X509-SVID §5.1] a leaf that an authority of its trust domain signed is trusted', () => {
    const svid = ca.issueX509Svid('/ns/prod/sa/web');
    const verified = verifyX509Svid(svid.chain, ca.bundles, nowMs);
    expect(verified.id.toString()).toBe('spiffe://example.org/ns/prod/sa/web');
    expect(verified.expiresAtMs).toBe(nowMs + HOUR_MS);
    expect(verified.path.map(({ raw }) => raw)).toEqual([svid.der, ca.root.der]);
    expect(verified.leaf.raw).toEqual(svid.der);
  });

  test('[X509-SVID §2] validators MUST reject an SVID with more than one URI name', () => {
    expect(outcome({ uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] })).toBe('unauthenticated');
    expect(outcome({ uris: ['spiffe://example.org/a', 'https://example.org'] })).toBe('unauthenticated');
  });

  test('[X509-SVID §2] an SVID MUST have a URI name', () => {
    expect(outcome({ uris: [] })).toBe('unauthenticated');
    expect(outcome({ uris: [], dnsNames: ['example.org'] })).toBe('unauthenticated');
  });

  test('[X509-SVID §2] an SVID MAY have DNS names', () => {
    expect(outcome({ dnsNames: ['a.example.org', 'b.example.org'] })).toBeUndefined();
  });

  test('[X509-SVID §3.1] the SPIFFE ID of a leaf MUST have a path', () => {
    expect(outcome({ uris: ['spiffe://example.org'] })).toBe('unauthenticated');
    expect(outcome({ uris: ['spiffe://example.org/'] })).toBe('unauthenticated');
  });

  test('[X509-SVID §3.1] a leaf needs no subject', () => {
    expect(outcome({ subject: {} })).toBeUndefined();
  });

  test('[X509-SVID §5.2] the scheme MUST be spiffe', () => {
    expect(outcome({ uris: ['https://example.org/workload'] })).toBe('unauthenticated');
    expect(outcome({ uris: ['spiffe://example.org/a/../b'] })).toBe('unauthenticated');
  });

  test('[X509-SVID §4.1] [X509-SVID §5.2] the validator MUST reject a leaf with the CA flag', () => {
    expect(outcome({ isCa: true, keyUsage: ['digitalSignature'] })).toBe('unauthenticated');
  });

  test('[X509-SVID §3.2] signing certificates MUST NOT be used for authentication', () => {
    const signer = ca.issueIntermediate({ uris: ['spiffe://example.org/signer'] });
    expect(codeOf(() => verifyX509Svid([signer.der], ca.bundles, nowMs))).toBe('unauthenticated');
    expect(codeOf(() => verifyX509Svid([ca.root.der], ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test.each(['keyCertSign', 'cRLSign'] as const)('[X509-SVID §4.3] [X509-SVID §5.2] a leaf MUST NOT set %s', (usage) => {
    expect(outcome({ keyUsage: ['digitalSignature', usage] })).toBe('unauthenticated');
  });

  test('[X509-SVID §4.3] key usage MUST be set on all SVIDs', () => {
    expect(outcome({ keyUsage: null })).toBe('unauthenticated');
  });

  test('[X509-SVID §4.3] a leaf MUST set digitalSignature', () => {
    expect(outcome({ keyUsage: ['keyEncipherment', 'keyAgreement'] })).toBe('unauthenticated');
    expect(outcome({ keyUsage: ['digitalSignature'] })).toBeUndefined();
  });

  test('[X509-SVID §4.4] extended key usage is a SHOULD of the issuer: other and absent purposes are accepted', () => {
    expect(outcome({ purposes: null })).toBeUndefined();
    expect(outcome({ purposes: [KEY_PURPOSE.clientAuth] })).toBeUndefined();
  });

  test('[RFC 5280 §4.2] a critical extension that is not processed is refused', () => {
    expect(outcome({ extraExtensions: [encodeExtension('1.3.6.1.4.1.99999.1', derNull, true)] })).toBe('unauthenticated');
    expect(outcome({ extraExtensions: [encodeExtension('1.3.6.1.4.1.99999.1', derNull, false)] })).toBeUndefined();
  });

  test('[RFC 5280 §6.1.3] the time must lie within the validity, both ends included', () => {
    const window = { notBeforeMs: nowMs - 10_000, notAfterMs: nowMs + 10_000 };
    const { chain } = ca.issueX509Svid('/workload', window);
    const at = (timeMs: number): string | undefined => codeOf(() => verifyX509Svid(chain, ca.bundles, timeMs));
    expect(at(nowMs - 10_001)).toBe('unauthenticated');
    expect(at(nowMs - 10_000)).toBeUndefined();
    expect(at(nowMs + 10_000)).toBeUndefined();
    expect(at(nowMs + 10_001)).toBe('unauthenticated');
  });

  test('[RFC 5280 §6.1.3] the signature must be the issuer’s', () => {
    expect(outcome({ signingKey: createTestKey() })).toBe('unauthenticated');
    const { der: leaf } = ca.issueX509Svid();
    const tampered = Uint8Array.from(leaf);
    tampered[tampered.length - 1] = (tampered.at(-1) ?? 0) ^ 1;
    expect(codeOf(() => verifyX509Svid([tampered], ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('[RFC 5280 §6.1.3] the issuer’s name must be the authority’s subject', () => {
    const other = TestCa.create({ nowMs });
    expect(outcome({ issuerRaw: other.root.certificate.subjectRaw })).toBe('unauthenticated');
  });

  test.each(['RSA-1024', 'P-224', 'secp256k1'] as const)('a leaf with a key of %s is refused', (kind) => {
    expect(outcome({ key: createTestKey(kind) })).toBe('invalid_argument');
  });

  test.each(['RSA-2048', 'P-256', 'P-384', 'P-521', 'Ed25519'] as const)('a leaf with a key of %s is accepted', (kind) => {
    expect(outcome({ key: createTestKey(kind) })).toBeUndefined();
  });

  test.each(['RSA-2048', 'P-384', 'P-521', 'Ed25519'] as const)('an authority with a key of %s can sign', (kind) => {
    const authority = TestCa.create({ nowMs, key: createTestKey(kind) });
    const { chain } = authority.issueX509Svid();
    expect(codeOf(() => verifyX509Svid(chain, authority.bundles, nowMs))).toBeUndefined();
  });

  test('an authority with a weak key is not trusted, and hides no other', () => {
    const weak = TestCa.create({ nowMs, key: createTestKey('RSA-1024') });
    const { chain } = weak.issueX509Svid();
    expect(thrownBy(() => verifyX509Svid(chain, weak.bundles, nowMs)).code).toBe('unauthenticated');
    const both = bundleSource(ca.bundle({ x509Authorities: [new X509Authority(weak.root.der), new X509Authority(ca.root.der)] }));
    expect(codeOf(() => verifyX509Svid(ca.issueX509Svid().chain, both, nowMs))).toBeUndefined();
  });

  test('signature algorithms that do not fit the key are refused', () => {
    expect(outcome({ signingKey: createTestKey('RSA-2048') })).toBe('unauthenticated');
  });

  test('unreadable and oversized chains are refused with the place named', () => {
    expect(thrownBy(() => verifyX509Svid([], ca.bundles, nowMs))).toMatchObject({
      code: 'invalid_argument',
      field: 'certificates',
    });
    expect(thrownBy(() => verifyX509Svid([ca.issueX509Svid().der, Uint8Array.of(1)], ca.bundles, nowMs))).toMatchObject({
      code: 'invalid_argument',
      field: 'certificates[1]',
    });
    const long = Array.from({ length: 17 }, () => ca.root.der);
    expect(thrownBy(() => verifyX509Svid(long, ca.bundles, nowMs)).code).toBe('invalid_argument');
  });
});

describe('what is signed', () => {
  test('[SPIFFE-ID §3] [SPIFFE-ID §3.2] SPIFFE ID and public key are covered by the signature: no changed byte is trusted', () => {
    const { der: leaf } = ca.issueX509Svid('/workload', { dnsNames: ['a.example.org'] });
    fc.assert(
      fc.property(fc.nat(leaf.length - 1), fc.integer({ min: 1, max: 255 }), (position, flip) => {
        const bent = Uint8Array.from(leaf);
        bent[position] = (bent[position] ?? 0) ^ flip;
        expect(codeOf(() => verifyX509Svid([bent], ca.bundles, nowMs))).toMatch(/^(invalid_argument|unauthenticated)$/);
      }),
      { numRuns: 500 },
    );
  });

  test('hostile bytes in place of a chain never fail otherwise than by a typed error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 4 }), (chain) => {
        expect(codeOf(() => verifyX509Svid(chain, ca.bundles, nowMs))).toBe('invalid_argument');
      }),
    );
  });
});

describe('trust', () => {
  test('[Trust Domain and Bundle §3] the bundle of the ID’s own trust domain is chosen, no other', () => {
    const foreign = TestCa.create({ trustDomain: 'foreign.example', nowMs });
    const bundles = bundleSource(ca.bundle(), foreign.bundle());
    const stolen = foreign.issueX509Svid('/workload', { uris: ['spiffe://example.org/workload'] });
    expect(codeOf(() => verifyX509Svid(stolen.chain, bundles, nowMs))).toBe('unauthenticated');
    expect(verifyX509Svid(foreign.issueX509Svid().chain, bundles, nowMs).id.trustDomain.name).toBe('foreign.example');
  });

  test('a trust domain without bundle is not trusted', () => {
    const foreign = TestCa.create({ trustDomain: 'foreign.example', nowMs });
    expect(codeOf(() => verifyX509Svid(foreign.issueX509Svid().chain, ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('[Trust Domain and Bundle §4.1.3] an empty bundle trusts nothing', () => {
    const empty = bundleSource(ca.bundle({ x509Authorities: [] }));
    expect(codeOf(() => verifyX509Svid(ca.issueX509Svid().chain, empty, nowMs))).toBe('unauthenticated');
  });

  test('an authority that has expired is not trusted', () => {
    const { chain } = ca.issueX509Svid('/workload', { notAfterMs: nowMs + 48 * HOUR_MS });
    expect(codeOf(() => verifyX509Svid(chain, ca.bundles, nowMs + 25 * HOUR_MS))).toBe('unauthenticated');
  });

  test('a presented root is no anchor: only the bundle is', () => {
    const impostor = TestCa.create({ nowMs });
    const { chain } = impostor.issueX509Svid();
    expect(codeOf(() => verifyX509Svid([...chain, impostor.root.der], ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('a root that is presented beside its place in the bundle does no harm', () => {
    const { chain } = ca.issueX509Svid();
    expect(codeOf(() => verifyX509Svid([...chain, ca.root.der], ca.bundles, nowMs))).toBeUndefined();
  });

  test('an anchor without key usage is trusted by choice; one that is no CA is not', () => {
    const plain = TestCa.create({ nowMs, root: { keyUsage: null } });
    expect(codeOf(() => verifyX509Svid(plain.issueX509Svid().chain, plain.bundles, nowMs))).toBeUndefined();
    const noCa = TestCa.create({ nowMs, root: { isCa: false, keyUsage: ['keyCertSign'] } });
    expect(codeOf(() => verifyX509Svid(noCa.issueX509Svid().chain, noCa.bundles, nowMs))).toBe('unauthenticated');
    const noSign = TestCa.create({ nowMs, root: { keyUsage: ['cRLSign'] } });
    expect(codeOf(() => verifyX509Svid(noSign.issueX509Svid().chain, noSign.bundles, nowMs))).toBe('unauthenticated');
  });

  test('a tainted authority is still trusted until it is revoked', () => {
    const tainted = bundleSource(ca.bundle({ x509Authorities: [new X509Authority(ca.root.der, { tainted: true })] }));
    expect(codeOf(() => verifyX509Svid(ca.issueX509Svid().chain, tainted, nowMs))).toBeUndefined();
  });

  test('of two authorities with one name the one whose key fits is found, with and without key identifiers', () => {
    const twin = TestCa.create({ nowMs, root: { subject: { country: 'US', organization: 'SPIFFE', serialNumber: 'same' } } });
    const other = TestCa.create({ nowMs, root: { subject: { country: 'US', organization: 'SPIFFE', serialNumber: 'same' } } });
    const authorities = [new X509Authority(other.root.der), new X509Authority(twin.root.der)];
    const bundles = bundleSource(twin.bundle({ x509Authorities: authorities }));
    expect(codeOf(() => verifyX509Svid(twin.issueX509Svid().chain, bundles, nowMs))).toBeUndefined();
    const without = twin.issueX509Svid('/workload', { authorityKeyId: null });
    expect(codeOf(() => verifyX509Svid(without.chain, bundles, nowMs))).toBeUndefined();
  });
});

describe('intermediates', () => {
  const intermediate = ca.issueIntermediate();

  test('[X509-SVID §3.2] [RFC 5280 §6.1] signing certificates are chained', () => {
    const second = ca.issueIntermediate({}, intermediate);
    const { chain } = ca.issueX509Svid('/workload', {}, [intermediate, second]);
    const verified = verifyX509Svid(chain, ca.bundles, nowMs);
    expect(verified.path).toHaveLength(4);
    const [leaf = new Uint8Array(), ...rest] = chain;
    expect(codeOf(() => verifyX509Svid([leaf, ...rest.toReversed()], ca.bundles, nowMs))).toBeUndefined();
  });

  test('a missing intermediate is a chain that is not trusted', () => {
    const { der: leaf } = ca.issueX509Svid('/workload', {}, [intermediate]);
    expect(codeOf(() => verifyX509Svid([leaf], ca.bundles, nowMs))).toBe('unauthenticated');
  });

  test('an intermediate may itself be in the bundle', () => {
    const { der: leaf } = ca.issueX509Svid('/workload', {}, [intermediate]);
    const bundles = bundleSource(ca.bundle({ x509Authorities: [new X509Authority(intermediate.der)] }));
    expect(codeOf(() => verifyX509Svid([leaf], bundles, nowMs))).toBeUndefined();
  });

  test('the path ends when its first certificate ends', () => {
    const short = ca.issueIntermediate({ notAfterMs: nowMs + 60_000 });
    const { chain } = ca.issueX509Svid('/workload', {}, [short]);
    expect(verifyX509Svid(chain, ca.bundles, nowMs).expiresAtMs).toBe(nowMs + 60_000);
    expect(codeOf(() => verifyX509Svid(chain, ca.bundles, nowMs + 61_000))).toBe('unauthenticated');
  });

  const broken: readonly (readonly [string, CertificateOptions])[] = [
    ['[X509-SVID §4.1] signing certificates MUST set cA', { isCa: false, keyUsage: ['keyCertSign'] }],
    ['[X509-SVID §4.3] signing certificates MUST set keyCertSign', { keyUsage: ['cRLSign'] }],
    ['[X509-SVID §4.3] signing certificates MUST have key usage', { keyUsage: null }],
    ['[X509-SVID §3.2] the SPIFFE ID of a signing certificate MUST NOT have a path', { uris: ['spiffe://example.org/signer'] }],
    ['[RFC 5280 §6.1.3] an intermediate must be valid already', { notBeforeMs: nowMs + 60_000 }],
    ['[RFC 5280 §6.1.3] an intermediate must not have expired', { notAfterMs: nowMs - 60_000, notBeforeMs: nowMs - HOUR_MS }],
    ['[RFC 5280 §6.1.3] an intermediate must be signed by its issuer', { signingKey: createTestKey() }],
    ['an intermediate must have a key that is accepted', { key: createTestKey('RSA-1024') }],
    [
      '[RFC 5280 §4.2] an intermediate must have no critical extension that is not processed',
      { extraExtensions: [encodeExtension('2.5.29.36', derNull, true)] },
    ],
  ];
  test.each(broken)('%s', (_rule, options) => {
    expect(outcome({}, [ca.issueIntermediate(options)])).toBe('unauthenticated');
  });

  test('[X509-SVID §4.1] [RFC 5280 §4.2.1.9] the path length is met', () => {
    const zero = ca.issueIntermediate({ pathLength: 0 });
    expect(outcome({}, [zero])).toBeUndefined();
    expect(outcome({}, [zero, ca.issueIntermediate({}, zero)])).toBe('unauthenticated');
    const one = ca.issueIntermediate({ pathLength: 1 });
    expect(outcome({}, [one, ca.issueIntermediate({}, one)])).toBeUndefined();
  });

  test('[RFC 5280 §6.1.4] the path length of the anchor counts, too', () => {
    const flat = TestCa.create({ nowMs, root: { pathLength: 0 } });
    expect(codeOf(() => verifyX509Svid(flat.issueX509Svid().chain, flat.bundles, nowMs))).toBeUndefined();
    const { chain } = flat.issueX509Svid('/workload', {}, [flat.issueIntermediate()]);
    expect(codeOf(() => verifyX509Svid(chain, flat.bundles, nowMs))).toBe('unauthenticated');
  });

  test('[RFC 5280 §6.1.4] self-issued certificates do not count towards the path length', () => {
    const subject = { country: 'US', organization: 'SPIFFE', serialNumber: 'rollover' };
    const flat = TestCa.create({ nowMs, root: { pathLength: 0, subject } });
    const rolledOver = flat.issueIntermediate({ subject });
    const { chain } = flat.issueX509Svid('/workload', {}, [rolledOver]);
    expect(codeOf(() => verifyX509Svid(chain, flat.bundles, nowMs))).toBeUndefined();
  });

  test('a chain of more than ten certificates is not followed', () => {
    const signers: Issued[] = [];
    for (let depth = 0; depth < 9; depth++) signers.push(ca.issueIntermediate({}, signers.at(-1)));
    expect(outcome({}, signers.slice(0, 8))).toBeUndefined();
    expect(outcome({}, signers)).toBe('unauthenticated');
  });

  test('candidates that all bear one name cost a bounded number of signatures', () => {
    const subject = { organization: 'SPIFFE', serialNumber: 'mesh' };
    const keys = Array.from({ length: 4 }, () => createTestKey());
    // Every key certifies every other one, all under one name and without key identifiers.
    const mesh = keys.flatMap((signingKey) =>
      keys
        .filter((key) => key !== signingKey)
        .map((key) => issueCertificate(undefined, { subject, key, signingKey, isCa: true, ...validity })),
    );
    const [signer] = mesh;
    const { chain } = ca.issueX509Svid('/workload', { authorityKeyId: null }, signer === undefined ? [] : [signer]);
    const presented = [...chain, ...mesh.slice(1).map((each) => each.der)];
    expect(thrownBy(() => verifyX509Svid(presented, ca.bundles, nowMs)).message).toContain('too many candidates');
  });

  test('[X509-SVID §3.2] a signing certificate MAY come from another trust domain’s authority', () => {
    const cross = ca.issueIntermediate({ uris: ['spiffe://upstream.example'] });
    expect(outcome({}, [cross])).toBeUndefined();
  });
});

describe('name constraints', () => {
  const subtree = (tag: number, text: string): Uint8Array => derSequence(derAscii(contextTag(tag), text));
  const constraints = (permitted: readonly Uint8Array[], excluded: readonly Uint8Array[] = []): CertificateOptions => {
    const parts = [
      ...(permitted.length === 0 ? [] : [der(contextConstructedTag(0), ...permitted)]),
      ...(excluded.length === 0 ? [] : [der(contextConstructedTag(1), ...excluded)]),
    ];
    return { extraExtensions: [encodeExtension(EXTENSION.nameConstraints, derSequence(...parts), true)] };
  };
  const below = (options: CertificateOptions, leaf: CertificateOptions = {}): string | undefined =>
    outcome(leaf, [ca.issueIntermediate(options)]);

  test.each([
    ['example.org', undefined],
    ['EXAMPLE.org', undefined],
    ['.org', undefined],
    ['', undefined],
    ['.example.org', 'unauthenticated'],
    ['org', 'unauthenticated'],
    ['ample.org', 'unauthenticated'],
    ['other.example', 'unauthenticated'],
  ])('[X509-SVID §4.2] [RFC 5280 §4.2.1.10] permitted URI %j', (constraint, expected) => {
    expect(below(constraints([subtree(6, constraint)]))).toBe(expected);
  });

  test('[X509-SVID §4.2] [RFC 5280 §4.2.1.10] excluded URIs win over permitted ones', () => {
    expect(below(constraints([subtree(6, 'example.org')], [subtree(6, 'example.org')]))).toBe('unauthenticated');
    expect(below(constraints([], [subtree(6, 'other.example')]))).toBeUndefined();
  });

  test.each([
    ['example.org', undefined],
    ['.example.org', undefined],
    ['a.example.org', undefined],
    ['b.example.org', 'unauthenticated'],
    ['', undefined],
  ])('[RFC 5280 §4.2.1.10] permitted DNS name %j', (constraint, expected) => {
    expect(below(constraints([subtree(2, constraint)]), { dnsNames: ['a.example.org'] })).toBe(expected);
  });

  test('[RFC 5280 §4.2.1.10] excluded DNS names', () => {
    expect(below(constraints([], [subtree(2, 'example.org')]), { dnsNames: ['a.example.org'] })).toBe('unauthenticated');
    expect(below(constraints([], [subtree(2, 'example.org')]))).toBeUndefined();
  });

  test('[RFC 5280 §4.2.1.10] constraints that cannot be met are refused', () => {
    expect(below(constraints([subtree(1, 'example.org')]))).toBe('unauthenticated');
  });

  test('the constraints of an anchor hold, too', () => {
    const narrow = TestCa.create({ nowMs, root: constraints([subtree(6, 'other.example')]) });
    expect(codeOf(() => verifyX509Svid(narrow.issueX509Svid().chain, narrow.bundles, nowMs))).toBe('unauthenticated');
  });
});

describe('an X509-SVID with its key', () => {
  test('is read as the Workload API delivers it', () => {
    const svid = ca.issueX509Svid('/workload', {}, [ca.issueIntermediate()]);
    const read = parseX509Svid(svid.chain, svid.key.privateKey);
    expect(read.id.equals(svid.id)).toBe(true);
    expect(read.chain.map(({ raw }) => raw)).toEqual(svid.chain);
    expect(read.expiresAtMs).toBe(nowMs + HOUR_MS);
  });

  test('is read from PEM', () => {
    const svid = ca.issueX509Svid();
    expect(parseX509SvidPem(svid.chainPem, svid.keyPem).id.equals(svid.id)).toBe(true);
  });

  test('is refused with a key that is not its own', () => {
    const { chain } = ca.issueX509Svid();
    expect(thrownBy(() => parseX509Svid(chain, createTestKey().privateKey))).toMatchObject({
      code: 'invalid_argument',
      field: 'private_key',
    });
  });

  test('is refused when it breaks a rule of the standard', () => {
    const { chain, key } = ca.issueX509Svid('/workload', { keyUsage: ['keyAgreement'] });
    expect(thrownBy(() => parseX509Svid(chain, key.privateKey)).code).toBe('invalid_argument');
    const wrong = ca.issueX509Svid('/workload', { uris: ['https://example.org/x'] });
    expect(thrownBy(() => parseX509Svid(wrong.chain, wrong.key.privateKey)).code).toBe('invalid_argument');
  });

  test('[X509-SVID §4.1] is refused when a certificate after the first is no CA', () => {
    const svid = ca.issueX509Svid();
    expect(thrownBy(() => parseX509Svid([svid.der, ca.issueX509Svid().der], svid.key.privateKey))).toMatchObject({
      code: 'invalid_argument',
      field: 'certificates',
    });
  });

  test('never shows the key when the key cannot be read', () => {
    const { chainPem } = ca.issueX509Svid();
    const error = thrownBy(() =>
      parseX509SvidPem(chainPem, '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n'),
    );
    expect(error).toMatchObject({ code: 'invalid_argument', field: 'private_key' });
    expect(error.cause).toBeUndefined();
    expect(error.message).not.toContain('c2VjcmV0');
  });
});
