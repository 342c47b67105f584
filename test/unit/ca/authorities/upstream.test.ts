import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Authorities } from '../../../../ca/authorities/authorities.ts';
import { encodePem, parseCertificate } from '../../../../spiffe/certificate.ts';
import { verifyX509Svid } from '../../../../spiffe/x509-svid.ts';
import { TestCa, type CertificateOptions, type Issued } from '../../../support/test-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { HOUR_MS, id, IssuingSide } from '../issue/issuer-fixture.ts';
import { Replica, storeIsDown } from './authorities-fixture.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const YEAR_MS = 365 * 24 * HOUR_MS;
const caller = 'spiffe://example.org/spire/agent/x';
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const hex = (content: Uint8Array | undefined): string => Buffer.from(content ?? []).toString('hex');
const skidOf = (issued: Issued): string => hex(issued.certificate.subjectKeyId);

let replica: Replica;
beforeEach(() => {
  replica = new Replica();
});
afterEach(() => replica.delete());

const years = { notAfterMs: NOW_MS + YEAR_MS };
const createCa = (root: CertificateOptions = {}): TestCa => TestCa.create({ nowMs: NOW_MS, root: { ...years, ...root } });

interface FileOptions {
  readonly roots?: readonly Issued[];
  readonly key?: string;
  readonly keyMode?: number;
}

/** Writes the files of an upstream authority; `chain` begins with the one that signs. */
function filesOf(chain: readonly Issued[], options: FileOptions = {}) {
  const pem = (certificates: readonly Issued[]): string => certificates.map(({ der }) => encodePem('CERTIFICATE', der)).join('');
  const [certFile, keyFile, bundleFile] = ['cert.pem', 'key.pem', 'bundle.pem'].map((name) => join(replica.dir, name)) as [
    string,
    string,
    string,
  ]; // Sound: three names make three paths.
  writeFileSync(certFile, pem(chain));
  const key = options.key ?? chain[0]?.key.privateKey.export({ type: 'pkcs8', format: 'pem' }) ?? '';
  writeFileSync(keyFile, key, { mode: options.keyMode ?? 0o600 });
  chmodSync(keyFile, options.keyMode ?? 0o600);
  if (options.roots === undefined) return { certFile, keyFile };
  writeFileSync(bundleFile, pem(options.roots));
  return { certFile, keyFile, bundleFile };
}

describe('under a root given as files', () => {
  it('the authority is an intermediate, the root is in the bundle and the chain leads to it', async () => {
    const ca = createCa();
    await using side = await IssuingSide.open({ upstream: filesOf([ca.root]) });
    const authority = side.authorities.activeX509();
    const own = parseCertificate(authority.certificateDer);
    expect(side.replica.bundle.list().filter(({ kind }) => kind === 'x509')).toMatchObject([
      { id: skidOf(ca.root), replicaId: '', tainted: false, upstreamSubjectKeyId: skidOf(ca.root) },
    ]);
    expect(new X509Certificate(own.raw).checkIssued(new X509Certificate(ca.root.der))).toBe(true);
    expect(own).toMatchObject({ isCa: true, uriSans: ['spiffe://example.org'], pathLength: undefined });
    expect(hex(own.authorityKeyId)).toBe(skidOf(ca.root));
    expect(side.authorities.states('x509').active).toMatchObject({
      authorityId: authority.id,
      upstreamSubjectKeyId: skidOf(ca.root),
    });

    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), caller });
    expect(svid.chain.slice(1)).toEqual([authority.certificateDer]);
    expect(verifyX509Svid(svid.chain, side.bundles, side.nowMs).path).toHaveLength(3);
    const batch = await side.issuer.issueX509SvidBatch([{ csr: createTestCsr(), spiffeId: id('/web'), caller }]);
    expect(batch[0]).toMatchObject({ chain: { length: 2 } });
  });

  it.skipIf(!hasOpenssl)('the chain is valid for openssl', async () => {
    const ca = createCa();
    await using side = await IssuingSide.open({ upstream: filesOf([ca.root]) });
    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), caller });
    const [leaf, middle] = svid.chain.map((der, index) => {
      const file = join(replica.dir, `chain-${index}.pem`);
      writeFileSync(file, encodePem('CERTIFICATE', der));
      return file;
    }) as [string, string]; // Sound: the chain has two certificates.
    const at = Math.floor(side.nowMs / 1000).toString();
    const answer = execFileSync('openssl', [
      'verify',
      '-attime',
      at,
      '-CAfile',
      join(replica.dir, 'cert.pem'),
      '-untrusted',
      middle,
      leaf,
    ]);
    expect(answer.toString()).toContain('OK');
  });

  it('intermediates go into the chain and the roots of bundleFile into the bundle', async () => {
    const [ca, another] = [createCa(), createCa()];
    const middle = ca.issueIntermediate(years);
    await using side = await IssuingSide.open({ upstream: filesOf([middle], { roots: [ca.root, another.root] }) });
    expect([...side.replica.bundle.ids('x509')].sort()).toEqual([skidOf(ca.root), skidOf(another.root)].sort());
    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), caller });
    expect(svid.chain).toHaveLength(3);
    expect(verifyX509Svid(svid.chain, side.bundles, side.nowMs).path).toHaveLength(4);
  });

  it('a root that is named in both files is not sent along', async () => {
    const ca = createCa();
    await using side = await IssuingSide.open({ upstream: filesOf([ca.root], { roots: [ca.root] }) });
    expect(side.authorities.activeX509().chain).toHaveLength(1);
  });

  it('nothing outlives the upstream authority', async () => {
    const ca = createCa({ notAfterMs: NOW_MS + 2 * HOUR_MS });
    await using side = await IssuingSide.open({ upstream: filesOf([ca.root]) });
    expect(side.authorities.activeX509().expiresAtMs).toBe(NOW_MS + 2 * HOUR_MS);
    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), ttlSeconds: 86_400, caller });
    expect(svid.expiresAtMs).toBe(NOW_MS + 2 * HOUR_MS);
  });

  it('a path length is handed down, and 0 allows no downstream CA', async () => {
    const ca = createCa({ pathLength: 1 });
    await using side = await IssuingSide.open({ upstream: filesOf([ca.root]) });
    expect(side.authorities.activeX509().pathLength).toBe(0);
    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), caller });
    verifyX509Svid(svid.chain, side.bundles, side.nowMs);
    await expect(side.issuer.issueDownstreamCa({ csr: createTestCsr(), caller })).rejects.toMatchObject({
      code: 'failed_precondition',
    });
  });

  it.each(['P-384', 'RSA-2048', 'RSA-4096'] as const)('the upstream key may be %s', async (kind) => {
    const ca = TestCa.create({ nowMs: NOW_MS, key: createTestKey(kind), root: years });
    await using side = await IssuingSide.open({ upstream: filesOf([ca.root]) });
    const svid = await side.issuer.issueX509Svid({ csr: createTestCsr(), spiffeId: id('/web'), caller });
    verifyX509Svid(svid.chain, side.bundles, side.nowMs);
  });

  it('rotation reads the files anew', async () => {
    const [before, after] = [createCa(), createCa()];
    const upstream = filesOf([before.root]);
    await using authorities = await replica.open({ upstream });
    filesOf([after.root]);
    await replica.pass(13 * HOUR_MS);
    expect(authorities.states('x509').prepared?.upstreamSubjectKeyId).toBe(skidOf(after.root));
    expect(replica.bundle.ids('x509')).toEqual([skidOf(before.root), skidOf(after.root)]);
  });

  it('a restart goes on with the same intermediate', async () => {
    const upstream = filesOf([createCa().root]);
    const before = await (async () => {
      await using authorities = await replica.open({ upstream });
      return authorities.activeX509().id;
    })();
    await using authorities = await replica.open({ upstream });
    expect(authorities.activeX509().id).toBe(before);
  });

  it('an authority that was self-signed is replaced at the next start, and the other way round', async () => {
    const upstream = filesOf([createCa().root]);
    const ids: string[] = [];
    for (const options of [{}, { upstream }, {}]) {
      await using authorities = await replica.open(options);
      expect(authorities.activeX509().chain).toHaveLength('upstream' in options ? 1 : 0);
      ids.push(authorities.activeX509().id);
    }
    expect(new Set(ids).size).toBe(3);
  });
});

describe('files that cannot be used are refused, and the text says why', () => {
  const secret = createTestKey().privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const cases: readonly (readonly [string, RegExp, () => ReturnType<typeof filesOf>])[] = [
    ['the key is another one', /not the key/, () => filesOf([createCa().root], { key: secret })],
    [
      'the key is none',
      /no unencrypted private key/,
      () => filesOf([createCa().root], { key: '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----' }),
    ],
    [
      'the key is of a kind that is not used',
      /authority key must be/,
      () => filesOf([TestCa.create({ nowMs: NOW_MS, key: createTestKey('Ed25519'), root: years }).root]),
    ],
    ['there is no key', /ENOENT/, () => ({ ...filesOf([createCa().root]), keyFile: join(replica.dir, 'absent') })],
    ['every user may read the key', /chmod o=/, () => filesOf([createCa().root], { keyMode: 0o644 })],
    ['there is no certificate', /cert.pem/, () => filesOf([])],
    ['the certificate is no CA', /no CA/, () => filesOf([createCa().issueX509Svid()], { roots: [createCa().root] })],
    ['the certificate may not sign', /may not sign/, () => filesOf([createCa({ keyUsage: ['cRLSign'] }).root])],
    ['the certificate has ended', /not in force/, () => filesOf([createCa({ notAfterMs: NOW_MS - 1000 }).root])],
    ['the certificate has not begun', /not in force/, () => filesOf([createCa({ notBeforeMs: NOW_MS + 60_000 }).root])],
    ['the certificate ends within the second', /ends now/, () => filesOf([createCa({ notAfterMs: NOW_MS + 1000 }).root])],
    ['the path length allows nothing below', /path length 0/, () => filesOf([createCa({ pathLength: 0 }).root])],
    ['an intermediate comes without its root', /bundleFile/, () => filesOf([createCa().issueIntermediate(years)])],
    [
      'several certificates come without bundleFile',
      /bundleFile/,
      () => {
        const ca = createCa();
        return filesOf([ca.issueIntermediate(years), ca.root]);
      },
    ],
    [
      'the roots are others',
      /does not lead to a root/,
      () => filesOf([createCa().issueIntermediate(years)], { roots: [createCa().root] }),
    ],
  ];

  it.each(cases)('when %s', async (_name, message, files) => {
    const error: unknown = await replica.open({ upstream: files() }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      code: expect.stringMatching(/failed_precondition|invalid_argument/),
      message: expect.stringMatching(message),
    });
    expect(String(error)).not.toContain('c2VjcmV0');
  });

  it('and a file that breaks later does not stop signing before the authority ends', async () => {
    const upstream = filesOf([createCa().root]);
    await using authorities = await replica.open({ upstream });
    const before = authorities.activeX509().id;
    writeFileSync(upstream.keyFile, 'broken');
    await replica.pass(11.9 * HOUR_MS);
    replica.clock.advance(8.1 * HOUR_MS);
    await replica.pass(900_000);
    expect(authorities.activeX509().id).toBe(before);
    expect(authorities.fault()).toContain('key.pem');
    expect(readdirSync(join(replica.dir, 'keys')).filter((name) => name.startsWith('x509'))).toHaveLength(1);
  });
});

describe('an administrator under an upstream authority', () => {
  let authorities: Authorities;
  let first: TestCa;
  let second: TestCa;
  beforeEach(async () => {
    [first, second] = [createCa(), createCa()];
    authorities = await replica.open({ upstream: filesOf([first.root]) });
  });
  afterEach(() => authorities[Symbol.asyncDispose]());

  /** Replaces the upstream authority and this CA's own. */
  async function replaceUpstream(): Promise<void> {
    filesOf([second.root]);
    const { authorityId } = await authorities.prepare('x509');
    await authorities.activate('x509', authorityId);
  }

  it('taints and revokes the upstream authority once it has signed only an old one', async () => {
    await replaceUpstream();
    await expect(authorities.revokeUpstream(skidOf(first.root))).rejects.toMatchObject({ code: 'internal' });
    expect(await authorities.taintUpstream(skidOf(first.root).toUpperCase())).toBe(skidOf(first.root));
    expect([...authorities.taintedX509.value]).toEqual([skidOf(first.root)]);
    await expect(authorities.taintUpstream(skidOf(first.root))).rejects.toMatchObject({ code: 'internal' });
    expect(await authorities.revokeUpstream(skidOf(first.root))).toBe(skidOf(first.root));
    expect(replica.bundle.ids('x509')).toEqual([skidOf(second.root)]);
    expect(authorities.taintedX509.value.size).toBe(0);
    await expect(authorities.taintUpstream(skidOf(first.root))).rejects.toMatchObject({ code: 'internal' });
  });

  it('keeps a tainted root tainted when it is published again', async () => {
    await replaceUpstream();
    await authorities.taintUpstream(skidOf(first.root));
    filesOf([first.root]);
    await authorities.prepare('x509');
    expect([...authorities.taintedX509.value]).toEqual([skidOf(first.root)]);
  });

  it('can name neither the present one, nor one that signed what is prepared, nor an unknown one', async () => {
    for (const name of ['', 'ab', skidOf(first.root)]) {
      await expect(authorities.taintUpstream(name)).rejects.toMatchObject({ code: 'invalid_argument' });
      await expect(authorities.revokeUpstream(name)).rejects.toMatchObject({ code: 'invalid_argument' });
    }
    filesOf([second.root]);
    await authorities.prepare('x509');
    await expect(authorities.taintUpstream(skidOf(second.root))).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('can taint or revoke no local X.509 authority, but those of tokens', async () => {
    const { authorityId } = await authorities.prepare('jwt');
    const { active } = authorities.states('jwt');
    await authorities.activate('jwt', authorityId);
    await authorities.taint('jwt', active.authorityId);
    await authorities.revoke('jwt', active.authorityId);
    await expect(authorities.taint('x509', 'x')).rejects.toMatchObject({ code: 'failed_precondition' });
    await expect(authorities.revoke('x509', 'x')).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  it('is told that the store is down', async () => {
    await replaceUpstream();
    replica.bundle.beforeWrite = storeIsDown;
    await expect(authorities.taintUpstream(skidOf(first.root))).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('a downstream CA', () => {
  it('is an intermediate with its own key, named after the one above, and its SVIDs are valid', async () => {
    await using side = await IssuingSide.open();
    const key = createTestKey();
    const issued = await side.issuer.issueDownstreamCa({
      csr: createTestCsr({ key, uris: [] }),
      caller: 'spiffe://example.org/down',
      entryId: 'entry-d',
    });
    const certificate = parseCertificate(issued.chain[0] ?? new Uint8Array());
    const own = new X509Certificate(side.authorities.activeX509().certificateDer);
    expect(certificate).toMatchObject({
      isCa: true,
      uriSans: ['spiffe://example.org'],
      serialHex: issued.serialHex,
      notAfterMs: issued.expiresAtMs,
    });
    expect(new X509Certificate(certificate.raw).subject).toBe(own.subject.replace('O=SPIFFE\n', 'O=SPIFFE\nOU=DOWNSTREAM-1\n'));
    expect(new X509Certificate(certificate.raw).issuer).toBe(own.subject);
    expect(issued.expiresAtMs).toBe(side.authorities.activeX509().expiresAtMs);
    expect(side.records.at(-1)).toMatchObject({
      kind: 'downstream-ca',
      serial: issued.serialHex,
      entryId: 'entry-d',
      caller: 'spiffe://example.org/down',
    });

    const below = TestCa.create({ nowMs: NOW_MS });
    const leaf = below.issueX509Svid('/below', { notAfterMs: issued.expiresAtMs }, [{ der: certificate.raw, certificate, key }]);
    expect(verifyX509Svid([leaf.der, ...issued.chain], side.bundles, side.nowMs).id.path).toBe('/below');
  });

  it('lasts as long as it asks for', async () => {
    await using side = await IssuingSide.open();
    const issued = await side.issuer.issueDownstreamCa({ csr: createTestCsr(), ttlSeconds: 3600, caller });
    expect(issued.expiresAtMs).toBe(NOW_MS + HOUR_MS);
  });

  it('under an upstream root has the whole chain and says how deep it is', async () => {
    await using side = await IssuingSide.open({ upstream: filesOf([createCa({ pathLength: 2 }).root]) });
    const { chain } = await side.issuer.issueDownstreamCa({ csr: createTestCsr(), caller });
    expect(chain).toHaveLength(2);
    expect(parseCertificate(chain[0] ?? new Uint8Array()).pathLength).toBe(0);
  });

  it('is refused for a CSR that is not its own', async () => {
    await using side = await IssuingSide.open();
    const csr = createTestCsr({ signingKey: createTestKey() });
    await expect(side.issuer.issueDownstreamCa({ csr, caller })).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});
