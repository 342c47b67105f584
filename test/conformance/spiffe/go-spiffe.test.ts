import { describe, expect, test } from 'vitest';
import { JwtAuthority, X509Authority, formatBundleDocument, parseBundleDocument } from '../../../spiffe/bundle.ts';
import { parseCertificate } from '../../../spiffe/certificate.ts';
import { encodeExtension } from '../../../spiffe/certificate-writer.ts';
import { parseCsr, verifyCsr } from '../../../spiffe/csr.ts';
import { derNull } from '../../../spiffe/der-writer.ts';
import { verifyJwtSvid } from '../../../spiffe/jwt-svid.ts';
import { parseSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { verifyWitSvid } from '../../../spiffe/wit-svid.ts';
import { verifyX509Svid } from '../../../spiffe/x509-svid.ts';
import { TestCa, bundleSource } from '../../support/test-ca.ts';
import type { CertificateOptions, Issued } from '../../support/test-ca.ts';
import { createTestCsr } from '../../support/test-csr.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { codeOf } from '../../support/thrown-by.ts';
import { isInstalled } from '../../support/toolchain.ts';
import { askGo } from './go-oracle.ts';

const ca = TestCa.create();
const { nowMs } = ca;
const bundle = ca.bundle({ sequenceNumber: 7n, refreshHintSeconds: 300 });
const accepts = (work: () => unknown): boolean => codeOf(work) === undefined;

describe.skipIf(!isInstalled('go'))('side by side with go-spiffe and crypto/x509 (needs go)', () => {
  test('[SPIFFE-ID §2] the same texts are SPIFFE IDs', async () => {
    const texts = [
      '',
      '/',
      '/a',
      '/a/b',
      '/a//b',
      '/a/',
      '/.',
      '/..',
      '/a/../b',
      '/a/.',
      '/...',
      '/.a',
      '/%41',
      '/a?b',
      '/a#b',
      '/a:b',
      '/ä',
      '/a b',
      '/a\0',
      '/A',
      '/_-.x',
      '/a*',
      '/a@b',
      '/a\\b',
      '/a;b',
      '/a+b',
      '/a\n',
      `/${'x'.repeat(2000)}`,
      '?q',
      '#f',
      ':443',
      ':443/a',
      '@b/a',
    ].map((rest) => `spiffe://example.org${rest}`);
    const others = [
      'spiffe://',
      'spiffe:///a',
      'spiffe:/a',
      'SPIFFE://a/b',
      'http://a/b',
      '',
      'spiffe://Example.org/a',
      'spiffe://a_b-c.d/x',
    ];
    const questions = [
      ...texts,
      ...others,
      'spiffe://1.2.3.4/a',
      'spiffe://[::1]/a',
      'spiffe://u@e/a',
      'spiffe://e%41/a',
      'spiffe://.../a',
    ];
    const answers = await askGo(questions.map((text) => ({ op: 'id', text })));
    for (const [index, text] of questions.entries()) {
      expect([text, accepts(() => parseSpiffeId(text))]).toEqual([text, answers[index]?.ok]);
      expect(answers[index]?.ok === true ? answers[index].id : text).toBe(text);
    }
  });

  test('[SPIFFE-ID §2.1] the same texts are trust domains', async () => {
    const texts = [
      'example.org',
      'spiffe://example.org',
      'Example.org',
      '',
      'a:1',
      'u@a',
      '1.2.3.4',
      'a_b',
      'a b',
      'ä',
      '-',
      '%61',
      'a/',
    ];
    const answers = await askGo(texts.map((text) => ({ op: 'trustDomain', text })));
    for (const [index, text] of texts.entries()) {
      expect([text, accepts(() => parseTrustDomain(text))]).toEqual([text, answers[index]?.ok]);
    }
  });

  test('[X509-SVID §5] the same chains are trusted', async () => {
    const intermediate = ca.issueIntermediate();
    const zero = ca.issueIntermediate({ pathLength: 0 });
    const chain = (options: CertificateOptions = {}, signers: readonly Issued[] = []): readonly Uint8Array[] =>
      ca.issueX509Svid('/workload', options, signers).chain;
    const chains = [
      chain(),
      chain({}, [intermediate]),
      chain({}, [intermediate, ca.issueIntermediate({}, intermediate)]),
      chain({}, [zero, ca.issueIntermediate({}, zero)]),
      chain({ uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] }),
      chain({ uris: [] }),
      chain({ uris: ['https://example.org/a'] }),
      chain({ isCa: true, keyUsage: ['digitalSignature'] }),
      chain({ keyUsage: ['digitalSignature', 'keyCertSign'] }),
      chain({ keyUsage: ['digitalSignature', 'cRLSign'] }),
      chain({ notBeforeMs: nowMs + 60_000 }),
      chain({ notAfterMs: nowMs - 60_000, notBeforeMs: nowMs - 120_000 }),
      chain({ signingKey: createTestKey() }),
      chain({ extraExtensions: [encodeExtension('1.2.3.4', derNull, true)] }),
      chain({ extraExtensions: [encodeExtension('1.2.3.4', derNull, false)] }),
      chain({ subject: {} }),
      chain({ dnsNames: ['a.example.org'] }),
      chain({}, [ca.issueIntermediate({ isCa: false, keyUsage: ['keyCertSign'] })]),
      chain({}, [ca.issueIntermediate({ keyUsage: ['cRLSign'] })]),
      chain({}, [ca.issueIntermediate({ notAfterMs: nowMs - 60_000, notBeforeMs: nowMs - 120_000 })]),
      ...(['P-384', 'P-521', 'RSA-2048', 'Ed25519'] as const).map((kind) => chain({ key: createTestKey(kind) })),
      TestCa.create().issueX509Svid().chain,
    ];
    const answers = await askGo(chains.map((each) => ({ op: 'x509', chain: each, bundle, nowMs })));
    const own = chains.map((each) => accepts(() => verifyX509Svid(each, bundleSource(bundle), nowMs)));
    expect(own).toEqual(answers.map(({ ok }) => ok));
    expect(own.filter(Boolean).length).toBeGreaterThan(8);
  });

  test('[X509-SVID §3.1] [X509-SVID §4.3] what the standard asks beyond go-spiffe is refused here', async () => {
    const chains = [{ keyUsage: null }, { keyUsage: ['keyAgreement'] }, { uris: ['spiffe://example.org'] }] as const;
    const questions = chains.map((options) => ca.issueX509Svid('/workload', options).chain);
    const answers = await askGo(questions.map((chain) => ({ op: 'x509', chain, bundle, nowMs })));
    expect(answers.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect(questions.map((chain) => codeOf(() => verifyX509Svid(chain, ca.bundles, nowMs)))).toEqual(
      Array(3).fill('unauthenticated'),
    );
  });

  test('crypto/x509 reads our leaf as we do', async () => {
    const svid = ca.issueX509Svid('/ns/prod/sa/web', { dnsNames: ['a.example.org', '*.b.example.org'] });
    const late = ca.issueX509Svid('/late', { notAfterMs: Date.UTC(2051, 0, 1), subject: {} });
    const answers = await askGo([svid, late, ca.root].map(({ der }) => ({ op: 'certificate', der })));
    for (const [index, { der }] of [svid, late, ca.root].entries()) {
      const own = parseCertificate(der);
      expect(answers[index]).toMatchObject({
        ok: true,
        uris: own.uriSans,
        extra: {
          serial: own.serialHex,
          notBeforeMs: own.notBeforeMs,
          notAfterMs: own.notAfterMs,
          isCa: own.isCa,
          skid: Buffer.from(own.subjectKeyId ?? []).toString('hex'),
          akid: Buffer.from(own.authorityKeyId ?? []).toString('hex'),
          algorithm: 'ECDSA-SHA256',
          unhandled: 0,
        },
      });
    }
    // digitalSignature and keyAgreement; client and server.
    expect(answers[0]).toMatchObject({
      dns: ['a.example.org', '*.b.example.org'],
      extra: { keyUsage: 1 | 16, purposes: [1, 2] },
    });
    expect(answers[0]?.subject).toBe('O=SPIRE,C=US');
  });

  test('the same CSRs are accepted', async () => {
    const good = createTestCsr({ dnsNames: ['a.example.org'], subject: { organization: 'Acme' } });
    const flipped = Uint8Array.from(good);
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
    const csrs = [
      good,
      flipped,
      Buffer.concat([good, Uint8Array.of(0)]),
      createTestCsr({ signingKey: createTestKey() }),
      createTestCsr({ uris: [] }),
      createTestCsr({ uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] }),
      createTestCsr({ attributes: [] }),
      ...(['P-384', 'P-521', 'RSA-2048', 'RSA-4096', 'Ed25519'] as const).map((kind) =>
        createTestCsr({ key: createTestKey(kind) }),
      ),
      new Uint8Array(0),
    ];
    const answers = await askGo(csrs.map((der) => ({ op: 'csr', der })));
    const own = csrs.map((der) => accepts(() => verifyCsr(parseCsr(der))));
    expect(own).toEqual(answers.map(({ ok }) => ok));
    expect(answers[0]).toMatchObject({ uris: parseCsr(good).uriSans, dns: ['a.example.org'], subject: 'O=Acme' });
  });

  test('[JWT-SVID §4] the same tokens are trusted', async () => {
    const rsa = createTestKey('RSA-2048');
    const withRsa = ca.bundle({ jwtAuthorities: [...bundle.jwtAuthorities.values(), new JwtAuthority('rsa', rsa.spki)] });
    const seconds = Math.floor(nowMs / 1000);
    const tokens = [
      ca.signJwt(),
      ca.signJwt({ aud: 'test-audience' }),
      ca.signJwt({ aud: ['a', 'test-audience'] }),
      ca.signJwt({ aud: ['a'] }),
      ca.signJwt({ aud: undefined }),
      ca.signJwt({ exp: undefined }),
      ca.signJwt({ exp: seconds - 90 }),
      ca.signJwt({ exp: seconds - 30 }),
      ca.signJwt({ nbf: seconds + 120 }),
      ca.signJwt({ iat: seconds + 120 }),
      ca.signJwt({ sub: undefined }),
      ca.signJwt({ sub: 'web' }),
      ca.signJwt({ sub: 'spiffe://other.example/web' }),
      ca.signJwt({}, { typ: undefined }),
      ca.signJwt({}, { typ: 'JOSE' }),
      ca.signJwt({}, { typ: 'wit+jwt' }),
      ca.signJwt({}, { kid: undefined }),
      ca.signJwt({}, { kid: 'foreign' }),
      ca.signJwt({}, {}, createTestKey()),
      ...(['RS256', 'RS512', 'PS256', 'PS384'] as const).map((alg) => ca.signJwt({}, { kid: 'rsa', alg }, rsa)),
      'a.b.c',
      `${ca.signJwt()}.x`,
    ];
    const answers = await askGo(tokens.map((token) => ({ op: 'jwt', token, audience: ['test-audience'], bundle: withRsa })));
    const own = tokens.map((token) => accepts(() => verifyJwtSvid(token, ['test-audience'], bundleSource(withRsa), nowMs)));
    expect(own).toEqual(answers.map(({ ok }) => ok));
    expect(own.filter(Boolean).length).toBeGreaterThan(8);
  });

  test('[WIT-SVID §4] the same tokens are trusted', async () => {
    const seconds = Math.floor(nowMs / 1000);
    const tokens = [
      ca.signWit(),
      ca.signWit({ jti: 'x' }),
      ca.signWit({ cnf: undefined }),
      ca.signWit({ cnf: {} }),
      ca.signWit({ aud: ['x'] }),
      ca.signWit({ exp: undefined }),
      ca.signWit({ exp: seconds - 90 }),
      ca.signWit({ nbf: seconds + 120 }),
      ca.signWit({ sub: 'web' }),
      ca.signWit({}, { typ: 'JWT' }),
      ca.signWit({}, { kid: undefined }),
      ca.signWit({}, { kid: 'foreign' }),
      ca.signWit({}, {}, createTestKey()),
    ];
    const answers = await askGo(tokens.map((token) => ({ op: 'wit', token, bundle })));
    const own = tokens.map((token) => accepts(() => verifyWitSvid(token, ca.bundles, nowMs)));
    expect(own).toEqual(answers.map(({ ok }) => ok));
  });

  test('[Trust Domain and Bundle §4] go-spiffe reads our documents, and both read others alike', async () => {
    const two = ca.bundle({
      sequenceNumber: 2n ** 63n,
      refreshHintSeconds: 60,
      x509Authorities: [
        new X509Authority(ca.root.der),
        new X509Authority(TestCa.create({ key: createTestKey('RSA-2048') }).root.der),
      ],
      jwtAuthorities: [
        new JwtAuthority('rsa', createTestKey('RSA-2048').spki),
        new JwtAuthority('p384', createTestKey('P-384').spki),
      ],
    });
    const documents = [formatBundleDocument(two), '{"keys":[]}', '{}', '[]', '{"keys":null}', '{"keys":[{"kty":"EC"}]}'];
    const answers = await askGo(documents.map((document) => ({ op: 'bundle', document })));
    expect(answers[0]).toMatchObject({ ok: true, count: 2, extra: { sequence: '9223372036854775808', hintSeconds: 60 } });
    expect(answers[0]?.keys?.toSorted()).toEqual(['jwt:p384', 'jwt:rsa', `wit:${ca.witKeyId}`]);
    const own = documents.map((document) => accepts(() => parseBundleDocument(document, ca.trustDomain)));
    // A key of broken shape and unknown use: go-jose refuses the whole set, the standard (§4.2.2) wants the key ignored.
    expect(own).toEqual([true, true, false, false, false, true]);
    expect(answers.map(({ ok }) => ok).slice(0, 5)).toEqual(own.slice(0, 5));
  });
});
