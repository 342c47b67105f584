import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { Bundle as SpiffeBundle, JwtAuthority, X509Authority } from '../../../../spiffe/bundle.ts';
import { parseCertificate } from '../../../../spiffe/certificate.ts';
import { verifyJwtSvid } from '../../../../spiffe/jwt-svid.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { verifyX509Svid } from '../../../../spiffe/x509-svid.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestTestAgent, type TestAgent } from '../../../support/test-agent.ts';
import { bundleSource } from '../../../support/test-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';

const own = (path: string) => ({ trustDomain: 'example.org', path });

let ca: RunningCa;
let agent: TestAgent;
const ids: Record<string, string> = {};
beforeAll(async () => {
  ca = await RunningCa.start();
  agent = await attestTestAgent(ca);
  const base = { parentId: own(agent.id.path), selectors: [{ type: 'unix', value: 'uid:1' }] };
  const { results } = await ca.local(Entry).batchCreateEntry({
    entries: [
      { ...base, spiffeId: own('/web'), dnsNames: ['web.example.org'], x509SvidTtl: 120, jwtSvidTtl: 60 },
      { ...base, spiffeId: own('/jti'), additionalAttributes: { jwtSvidIncludeJti: true } },
      { ...base, spiffeId: own('/claims'), countersignJwtClaims: { team: 'payments', scopes: ['a', 'b'], level: 3 } },
      { ...base, spiffeId: own('/foreign'), parentId: own('/spire/agent/join_token/other') },
    ],
  });
  for (const { entry } of results) ids[entry?.spiffeId?.path ?? ''] = entry?.id ?? '';
});
afterAll(() => ca[Symbol.asyncDispose]());

const mint = () => ca.local(SVID);
const signing = () => agent.connection.client(SVID);
async function bundles() {
  const { x509Authorities, jwtAuthorities } = await ca.local(Bundle).getBundle({});
  return bundleSource(
    new SpiffeBundle({
      trustDomain: parseTrustDomain('example.org'),
      x509Authorities: x509Authorities.map(({ asn1 }) => new X509Authority(asn1)),
      jwtAuthorities: jwtAuthorities.map(({ keyId, publicKey }) => new JwtAuthority(keyId, publicKey)),
    }),
  );
}

describe('minting', () => {
  test('[SPIRE svid.v1.MintX509SVID] mints what the CSR asks for', async () => {
    const csr = createTestCsr({ uris: ['spiffe://example.org/minted'], dnsNames: ['a.example.org'] });
    const { svid } = await mint().mintX509SVID({ csr, ttl: 60 });
    const { id, leaf } = verifyX509Svid(svid?.certChain ?? [], await bundles(), ca.clock.nowMs());
    expect(id.toString()).toBe('spiffe://example.org/minted');
    expect(leaf.dnsSans).toEqual(['a.example.org']);
    expect(svid?.expiresAt).toBe(BigInt(leaf.notAfterMs / 1000));
    expect(leaf.notAfterMs - ca.clock.nowMs()).toBeLessThanOrEqual(60_000);
  });

  const badCsrs: readonly [string, Uint8Array][] = [
    ['none', new Uint8Array()],
    ['garbage', Buffer.from('garbage')],
    ['no URI', createTestCsr({ uris: [] })],
    ['two URIs', createTestCsr({ uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] })],
    ['another trust domain', createTestCsr({ uris: ['spiffe://other.example/a'] })],
    ['a reserved path', createTestCsr({ uris: ['spiffe://example.org/spire/server'] })],
    ['the trust domain', createTestCsr({ uris: ['spiffe://example.org'] })],
    ['a web address', createTestCsr({ uris: ['https://example.org/a'] })],
    ['a wrong signature', createTestCsr({ uris: ['spiffe://example.org/a'], signingKey: createTestKey() })],
    ['a small key', createTestCsr({ uris: ['spiffe://example.org/a'], key: createTestKey('RSA-1024') })],
    ['a bad DNS name', createTestCsr({ uris: ['spiffe://example.org/a'], dnsNames: ['-x'] })],
    ['a covering wildcard', createTestCsr({ uris: ['spiffe://example.org/a'], dnsNames: ['*.x.org', 'a.x.org'] })],
  ];
  test.each(badCsrs)('[SPIRE svid.v1.MintX509SVID] refuses a CSR with %s', async (_name, csr) => {
    const failure = await failureOf(mint().mintX509SVID({ csr }));
    expect(failure.code).toBe('invalid_argument');
    expect(failure.message).toContain('csr');
  });

  test('[SPIRE svid.v1.MintJWTSVID] mints a token for its audience', async () => {
    const { svid } = await mint().mintJWTSVID({ id: own('/minted'), audience: ['a', 'b'], ttl: 60 });
    const verified = verifyJwtSvid(svid?.token ?? '', ['b'], await bundles(), ca.clock.nowMs());
    expect(verified.id.toString()).toBe('spiffe://example.org/minted');
    expect(Number(svid?.expiresAt) - Number(svid?.issuedAt)).toBe(60);
  });

  test.each([
    ['id', { audience: ['a'] }],
    ['id', { id: own('/spire/server'), audience: ['a'] }],
    ['id', { id: { trustDomain: 'other.example', path: '/a' }, audience: ['a'] }],
    ['id.path', { id: own('/a/../b'), audience: ['a'] }],
    ['audience', { id: own('/a') }],
  ])('[SPIRE svid.v1.MintJWTSVID] names a faulty %s (%#)', async (field, request) => {
    const failure = await failureOf(mint().mintJWTSVID(request));
    expect(failure.code).toBe('invalid_argument');
    expect(failure.message).toContain(`${field}: `);
  });

  test('[SPIRE svid.v1.MintWITSVID] mints a token that is bound to a key', async () => {
    const publicKey = createTestKey().spki;
    const { svid } = await mint().mintWITSVID({ id: own('/minted'), publicKey, signingAlgorithm: 'ES256', ttl: 60 });
    const [, payload = ''] = svid?.token.split('.') ?? [];
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString());
    expect(claims).toMatchObject({ sub: 'spiffe://example.org/minted', cnf: { jwk: { kty: 'EC', alg: 'ES256' } } });
  });

  test.each([
    ['a reserved path', { id: own('/spire/x'), publicKey: createTestKey().spki, signingAlgorithm: 'ES256' }],
    ['no key', { id: own('/a'), signingAlgorithm: 'ES256' }],
    ['a garbled key', { id: own('/a'), publicKey: Buffer.from('x'), signingAlgorithm: 'ES256' }],
    ['an algorithm that does not fit', { id: own('/a'), publicKey: createTestKey().spki, signingAlgorithm: 'ES384' }],
    ['the algorithm none', { id: own('/a'), publicKey: createTestKey().spki, signingAlgorithm: 'none' }],
  ])('[SPIRE svid.v1.MintWITSVID] refuses %s', async (_name, request) => {
    expect(await failureOf(mint().mintWITSVID(request))).toMatchObject({ code: 'invalid_argument' });
  });
});

describe('signing for agents', () => {
  test('[SPIRE svid.v1.BatchNewX509SVID] signs by entry, each for itself', async () => {
    const csr = createTestCsr({ uris: [] });
    const { results } = await signing().batchNewX509SVID({
      params: [
        { entryId: ids['/web'] ?? '', csr },
        { entryId: ids['/foreign'] ?? '', csr },
        { entryId: 'none', csr },
        { entryId: '', csr },
        { entryId: ids['/web'] ?? '' },
        { entryId: ids['/web'] ?? '', csr: csr.subarray(1) },
        { entryId: ids['/jti'] ?? '', csr: createTestCsr({ uris: ['spiffe://example.org/whatever'] }) },
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5, 5, 3, 3, 3, 0]);
    const { id, leaf } = verifyX509Svid(results[0]?.svid?.certChain ?? [], await bundles(), ca.clock.nowMs());
    expect(id.path).toBe('/web');
    expect(leaf.dnsSans).toEqual(['web.example.org']);
    expect(leaf.notAfterMs - ca.clock.nowMs()).toBeLessThanOrEqual(120_000);
    expect(parseCertificate(results[6]?.svid?.certChain[0] ?? new Uint8Array()).uriSans).toEqual(['spiffe://example.org/jti']);
  });

  test('[SPIRE svid.v1.NewJWTSVID] signs by entry', async () => {
    const { svid } = await signing().newJWTSVID({ entryId: ids['/web'] ?? '', audience: ['db'] });
    const { id, claims } = verifyJwtSvid(svid?.token ?? '', ['db'], await bundles(), ca.clock.nowMs());
    expect(id.path).toBe('/web');
    expect(claims).not.toHaveProperty('jti');
    expect(Number(svid?.expiresAt) - Number(svid?.issuedAt)).toBe(60);
    const withId = await signing().newJWTSVID({ entryId: ids['/jti'] ?? '', audience: ['db'] });
    expect(verifyJwtSvid(withId.svid?.token ?? '', ['db'], await bundles(), ca.clock.nowMs()).claims).toHaveProperty('jti');
    expect(await failureOf(signing().newJWTSVID({ entryId: ids['/foreign'] ?? '', audience: ['db'] }))).toMatchObject({
      code: 'not_found',
    });
    expect(await failureOf(signing().newJWTSVID({ entryId: ids['/web'] ?? '' }))).toMatchObject({ code: 'invalid_argument' });
  });

  test('puts the claims of the entry into its JWT-SVIDs, beside the registered ones', async () => {
    const { svid } = await signing().newJWTSVID({ entryId: ids['/claims'] ?? '', audience: ['db'] });
    const { id, claims } = verifyJwtSvid(svid?.token ?? '', ['db'], await bundles(), ca.clock.nowMs());
    expect(id.path).toBe('/claims');
    expect(claims).toMatchObject({ team: 'payments', scopes: ['a', 'b'], level: 3, aud: ['db'] });
    expect(Object.keys(claims).toSorted()).toEqual(['aud', 'exp', 'iat', 'level', 'scopes', 'sub', 'team']);
  });

  test('[SPIRE svid.v1.BatchNewWITSVID] signs by entry, each for itself', async () => {
    const key = { publicKey: createTestKey().spki, signingAlgorithm: 'ES256' };
    const { results } = await signing().batchNewWITSVID({
      params: [
        { entryId: ids['/web'] ?? '', ...key },
        { entryId: ids['/foreign'] ?? '', ...key },
        { entryId: '', ...key },
        { entryId: ids['/web'] ?? '', signingAlgorithm: 'ES256' },
        { entryId: ids['/web'] ?? '', ...key, signingAlgorithm: 'HS256' },
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5, 3, 3, 3]);
    expect(results[0]?.svid?.id?.path).toBe('/web');
  });

  test('[SPIRE svid.v1.BatchNewX509SVID, BatchNewWITSVID] refuse an empty batch', async () => {
    expect(await failureOf(signing().batchNewX509SVID({}))).toMatchObject({
      code: 'invalid_argument',
      message: 'params: missing parameters',
    });
    expect(await failureOf(signing().batchNewWITSVID({}))).toMatchObject({ code: 'invalid_argument' });
  });
});

describe('downstream CAs', () => {
  test('[SPIRE svid.v1.NewDownstreamX509CA] signs an intermediate that issues what the bundle trusts', async () => {
    await ca.local(Entry).batchCreateEntry({
      entries: [
        {
          spiffeId: own('/downstream'),
          parentId: own('/spire/agent/x'),
          selectors: [{ type: 'a', value: 'b' }],
          downstream: true,
        },
      ],
    });
    const key = createTestKey();
    const { svid } = await mint().mintX509SVID({ csr: createTestCsr({ key, uris: ['spiffe://example.org/downstream'] }) });
    const downstream = ca.remote({ chain: svid?.certChain ?? [], key }).client(SVID);
    const { caCertChain, x509Authorities } = await downstream.newDownstreamX509CA({
      csr: createTestCsr({ uris: [] }),
      preferredTtl: 3600,
    });
    const intermediate = parseCertificate(caCertChain[0] ?? new Uint8Array());
    expect(intermediate.isCa).toBe(true);
    expect(intermediate.uriSans).toEqual(['spiffe://example.org']);
    expect(x509Authorities).toHaveLength(1);
    expect(await failureOf(downstream.newDownstreamX509CA({}))).toMatchObject({ code: 'invalid_argument' });
  });
});
