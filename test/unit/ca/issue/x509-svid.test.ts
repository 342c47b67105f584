import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import 'reflect-metadata'; // oxlint-disable-line import/no-unassigned-import -- @peculiar/x509 needs it
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate as PeculiarCertificate,
} from '@peculiar/x509';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KEY_ALGORITHMS } from '../../../../ca/keys/key-store.ts';
import { encodePem, parseCertificate } from '../../../../spiffe/certificate.ts';
import { verifyX509Svid } from '../../../../spiffe/x509-svid.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { HOUR_MS, id, IssuingSide } from './issuer-fixture.ts';

let side: IssuingSide;
beforeAll(async () => {
  side = await IssuingSide.open();
});
afterAll(() => side[Symbol.asyncDispose]());

const caller = 'spiffe://example.org/spire/agent/x';
const leafOf = ({ chain }: { chain: readonly Uint8Array[] }) => parseCertificate(chain[0] ?? new Uint8Array());
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe('an X509-SVID for an entry', () => {
  it('is what SPIRE would have issued', async () => {
    const key = createTestKey();
    const svid = await side.issuer.issueX509Svid({
      csr: createTestCsr({ key, uris: [], subject: { commonName: 'mine' } }),
      spiffeId: id('/web'),
      caller,
    });
    const leaf = leafOf(svid);
    expect(leaf.uriSans).toEqual(['spiffe://example.org/web']);
    expect(leaf.dnsSans).toEqual([]);
    expect([...leaf.spki]).toEqual([...key.spki]);
    expect(leaf.isCa).toBe(false);
    expect([...(leaf.keyUsage ?? [])].sort()).toEqual(['digitalSignature', 'keyAgreement']);
    expect(leaf.extendedKeyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(leaf.notBeforeMs).toBe(Date.UTC(2026, 0, 1) - 10_000);
    expect(leaf.notAfterMs).toBe(Date.UTC(2026, 0, 1, 1));
    expect(svid.expiresAtMs).toBe(leaf.notAfterMs);
    expect(new X509Certificate(leaf.raw).subject).toBe('C=US\nO=SPIRE');
    const authority = side.authorities.activeX509();
    expect(new X509Certificate(leaf.raw).issuer).toBe(new X509Certificate(authority.certificateDer).subject);
    expect(Buffer.from(leaf.authorityKeyId ?? []).toString('hex')).toBe(authority.id);
    expect(svid.chain).toHaveLength(1);
    expect(verifyX509Svid(svid.chain, side.bundles, side.nowMs).id.equals(id('/web'))).toBe(true);
  });

  it('has a serial number of 127 random bits, positive and never the same', async () => {
    const csr = createTestCsr();
    const serials = new Set<string>();
    for (let count = 0; count < 300; count++) {
      const { serialHex, serialNumber, chain } = await side.issuer.issueX509Svid({ csr, spiffeId: id('/web'), caller });
      expect(leafOf({ chain }).serialHex).toBe(serialHex);
      expect(BigInt(serialNumber)).toBe(BigInt(`0x${serialHex}`));
      expect(BigInt(serialNumber) > 0n && BigInt(serialNumber) < 1n << 127n).toBe(true);
      serials.add(serialHex);
    }
    expect(serials.size).toBe(300);
  });

  it('has the DNS names of its entry, the first as common name', async () => {
    const dnsNames = ['web.example.org', '*.web.example.org'];
    const svid = await side.issuer.issueX509Svid({
      csr: createTestCsr({ dnsNames: ['ignored.example.org'] }),
      spiffeId: id('/web'),
      dnsNames,
      caller,
    });
    expect(leafOf(svid).dnsSans).toEqual(dnsNames);
    expect(leafOf(svid).subjectCommonName).toBe('web.example.org');
  });

  it.each([
    [undefined, HOUR_MS],
    [0, HOUR_MS],
    [-5, HOUR_MS],
    [90, 90_000],
    [7200, 2 * HOUR_MS],
    [2 ** 31 - 1, 24 * HOUR_MS],
  ])('with a TTL of %s seconds lasts as long, but not longer than its authority', async (ttlSeconds, lifetimeMs) => {
    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), ttlSeconds, caller });
    expect(svid.expiresAtMs).toBe(Math.floor((side.nowMs + lifetimeMs) / 1000) * 1000);
    expect(leafOf(svid).notAfterMs).toBe(svid.expiresAtMs);
    expect(svid.expiresAtMs).toBeLessThanOrEqual(side.authorities.activeX509().expiresAtMs);
  });

  it.each(['P-256', 'P-384', 'P-521', 'RSA-2048', 'RSA-4096', 'Ed25519'] as const)('may be for a %s key', async (kind) => {
    const key = createTestKey(kind);
    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr({ key }), spiffeId: id('/web'), caller });
    expect(new X509Certificate(leafOf(svid).raw).checkPrivateKey(key.privateKey)).toBe(true);
  });

  it('may be for a key whose holder is known otherwise', async () => {
    const { spki } = createTestKey();
    const svid = await side.issuer.issueX509Svid({ publicKeySpki: spki, spiffeId: id('/web'), caller });
    expect([...leafOf(svid).spki]).toEqual([...spki]);
  });

  it('leaves an audit record', async () => {
    const key = createTestKey();
    const svid = await side.issuer.issueX509Svid({
      csr: createTestCsr({ key }),
      spiffeId: id('/audited'),
      caller,
      entryId: 'entry-7',
    });
    expect(side.records.at(-1)).toEqual({
      time: new Date(side.nowMs).toISOString(),
      kind: 'x509-svid',
      spiffeId: 'spiffe://example.org/audited',
      caller,
      entryId: 'entry-7',
      serial: svid.serialHex,
      digest: createHash('sha256').update(key.spki).digest('base64url'),
      authorityId: side.authorities.activeX509().id,
      expiresAt: new Date(svid.expiresAtMs).toISOString(),
    });
  });

  it.each(['/spire', '/spire/server', '/spire/agent/x', '', '@other'])('is refused for %j', async (path) => {
    const spiffeId =
      path === '@other' ? (await import('../../../../spiffe/spiffe-id.ts')).parseSpiffeId('spiffe://other.org/web') : id(path);
    const before = side.records.length;
    await expect(side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId, caller })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    expect(side.records).toHaveLength(before);
  });

  it.each([
    ['no CSR', () => new Uint8Array()],
    ['no DER', () => Uint8Array.of(1, 2, 3)],
    ['a CSR signed with another key', () => createTestCsr({ signingKey: createTestKey() })],
    ['a CSR that was altered', () => createTestCsr().with(70, 0x55)],
    ['a CSR with an RSA key of 1,024 bits', () => createTestCsr({ key: createTestKey('RSA-1024') })],
    ['a CSR with a curve that is not used', () => createTestCsr({ key: createTestKey('secp256k1') })],
  ])('is refused for %s', async (_name, csr) => {
    await expect(side.issuer.issueX509Svid({ csr: csr(), spiffeId: id('/web'), caller })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('is refused for a key that is no point of its curve', async () => {
    const { spki } = createTestKey();
    const broken = spki.with(spki.length - 1, (spki.at(-1) ?? 0) ^ 1);
    await expect(side.issuer.issueX509Svid({ publicKeySpki: broken, spiffeId: id('/web'), caller })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('is refused by the lint when the entry has a broken DNS name', async () => {
    const request = { csr: createTestCsr(), spiffeId: id('/web'), dnsNames: ['-.example.org'], caller };
    await expect(side.issuer.issueX509Svid(request)).rejects.toMatchObject({ code: 'internal' });
  });
});

describe.each(KEY_ALGORITHMS)('under an authority with an %s key, an X509-SVID', (x509KeyType) => {
  it('is valid for node:crypto, @peculiar/x509 and openssl', async () => {
    await using other = await IssuingSide.open({ x509KeyType });
    const svid = await other.issuer.issueX509Svid({
      csr: createTestCsr(),
      spiffeId: id('/web'),
      dnsNames: ['web.example.org'],
      caller,
    });
    const [leafDer = new Uint8Array()] = svid.chain;
    const { certificateDer } = other.authorities.activeX509();
    const root = new X509Certificate(certificateDer);
    expect(root.verify(root.publicKey)).toBe(true);
    expect(root.ca).toBe(true);
    expect(new X509Certificate(leafDer).verify(root.publicKey)).toBe(true);
    expect(new X509Certificate(leafDer).checkIssued(root)).toBe(true);

    const leaf = new PeculiarCertificate(new Uint8Array(leafDer));
    expect(leaf.getExtension(KeyUsagesExtension)?.usages).toBe(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyAgreement);
    expect(leaf.getExtension(BasicConstraintsExtension)).toMatchObject({ ca: false, critical: true });
    expect(leaf.getExtension(ExtendedKeyUsageExtension)?.usages).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(leaf.getExtension(SubjectAlternativeNameExtension)?.names.toJSON()).toEqual([
      { type: 'dns', value: 'web.example.org' },
      { type: 'url', value: 'spiffe://example.org/web' },
    ]);
    expect(BigInt(`0x${leaf.serialNumber}`)).toBe(BigInt(`0x${leafOf(svid).serialHex}`));
  });

  it.skipIf(!hasOpenssl)('is valid for openssl', async () => {
    await using other = await IssuingSide.open({ x509KeyType });
    const svid = await other.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), caller });
    const [rootFile, leafFile] = [join(other.replica.dir, 'root.pem'), join(other.replica.dir, 'leaf.pem')];
    writeFileSync(rootFile, encodePem('CERTIFICATE', other.authorities.activeX509().certificateDer));
    writeFileSync(leafFile, encodePem('CERTIFICATE', svid.chain[0] ?? new Uint8Array()));
    const at = Math.floor(other.nowMs / 1000).toString();
    const answer = execFileSync('openssl', [
      'verify',
      '-x509_strict',
      '-attime',
      at,
      '-purpose',
      'sslserver',
      '-CAfile',
      rootFile,
      leafFile,
    ]);
    expect(answer.toString()).toContain('OK');
  });
});

describe('a minted X509-SVID', () => {
  const mint = (options: Parameters<typeof createTestCsr>[0], ttlSeconds?: number) =>
    side.issuer.mintX509Svid({ csr: createTestCsr(options), ttlSeconds, caller: 'local uid=0 pid=1' });

  it('has the SPIFFE ID, DNS names and subject of the CSR', async () => {
    const svid = await mint(
      {
        uris: ['spiffe://example.org/minted'],
        dnsNames: ['a.example.org', 'b.example.org'],
        subject: { country: 'DE', organization: 'Example' },
      },
      60,
    );
    expect(svid.spiffeId.toString()).toBe('spiffe://example.org/minted');
    expect(svid.expiresAtMs).toBe(Math.floor((side.nowMs + 60_000) / 1000) * 1000);
    expect(leafOf(svid).dnsSans).toEqual(['a.example.org', 'b.example.org']);
    expect(new X509Certificate(leafOf(svid).raw).subject).toBe('C=DE\nO=Example\nCN=a.example.org');
    expect(side.records.at(-1)).toMatchObject({ kind: 'x509-svid', caller: 'local uid=0 pid=1', entryId: '' });
  });

  it('has the default subject when the CSR has none', async () => {
    expect(new X509Certificate(leafOf(await mint({})).raw).subject).toBe('C=US\nO=SPIRE');
  });

  it.each([
    ['no URI', { uris: [] }],
    ['two URIs', { uris: ['spiffe://example.org/a', 'spiffe://example.org/b'] }],
    ['a URI that is no SPIFFE ID', { uris: ['https://example.org/a'] }],
    ['a foreign trust domain', { uris: ['spiffe://other.org/a'] }],
    ['no path', { uris: ['spiffe://example.org'] }],
    ['a reserved path', { uris: ['spiffe://example.org/spire/agent/x'] }],
    ['the server’s own path', { uris: ['spiffe://example.org/spire/server'] }],
    ['a DNS name with two wildcards', { dnsNames: ['*.*.example.org'] }],
    ['a DNS name that ends with a dot', { dnsNames: ['example.org.'] }],
    ['a DNS name with a space', { dnsNames: ['a b.example.org'] }],
    ['a DNS name that a wildcard covers', { dnsNames: ['*.example.org', 'a.example.org'] }],
    ['a wrong signature', { signingKey: createTestKey() }],
  ])('is refused for a CSR with %s', async (_name, options) => {
    await expect(mint(options)).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('the CA itself and its agents', () => {
  it('has a server SVID with its key', async () => {
    const svid = await side.issuer.issueServerSvid();
    expect(leafOf(svid).uriSans).toEqual(['spiffe://example.org/spire/server']);
    expect(new X509Certificate(leafOf(svid).raw).checkPrivateKey(svid.privateKey)).toBe(true);
    expect(side.records.at(-1)).toMatchObject({ kind: 'server-svid', caller: 'self', serial: svid.serialHex });
  });

  it('gives an agent an SVID for as long as agents get', async () => {
    const svid = await side.issuer.issueAgentSvid({
      csr: createTestCsr({ uris: [] }),
      spiffeId: id('/spire/agent/join_token/x'),
      caller: 'join_token',
    });
    expect(leafOf(svid).uriSans).toEqual(['spiffe://example.org/spire/agent/join_token/x']);
    expect(svid.expiresAtMs).toBe(Date.UTC(2026, 0, 1, 2));
    expect(side.records.at(-1)).toMatchObject({ kind: 'agent-svid' });
  });

  it.each(['/web', '/spire/server', '/spire/agent', '/spire/agentx/y'])('gives no agent the ID %s', async (path) => {
    await expect(side.issuer.issueAgentSvid({ csr: createTestCsr(), spiffeId: id(path), caller })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });
});

describe('near its end an authority', () => {
  it('shortens what it signs, and in its last second signs no more', async () => {
    await using other = await IssuingSide.open();
    const { expiresAtMs } = other.authorities.activeX509();
    other.replica.clock.step(expiresAtMs - 1500 - other.nowMs);
    const request = { csr: createTestCsr(), spiffeId: id('/web'), caller };
    expect((await other.issuer.issueX509Svid(request)).expiresAtMs).toBe(expiresAtMs);
    other.replica.clock.step(1500);
    await expect(other.issuer.issueX509Svid(request)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('signs no token that would end at once, and says when to come again', async () => {
    await using other = await IssuingSide.open();
    const { expiresAtMs } = other.authorities.activeToken('jwt');
    // Ends in the middle of a second, as tokens cannot.
    other.replica.clock.step(expiresAtMs - 200 - other.nowMs);
    const request = { spiffeId: id('/web'), audience: ['a'], caller };
    await expect(other.issuer.issueJwtSvid(request)).rejects.toMatchObject({ code: 'unavailable', retryAfterMs: 1000 });
  });
});
