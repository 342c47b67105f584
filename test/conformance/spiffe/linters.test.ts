import { execFile } from 'node:child_process';
import { randomBytes, sign } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePem, parseCertificate } from '../../../spiffe/certificate.ts';
import {
  DEFAULT_AUTHORITY_SUBJECT,
  DEFAULT_SVID_SUBJECT,
  assembleCertificate,
  buildX509AuthorityTbs,
  buildX509SvidTbs,
} from '../../../spiffe/leaf-certificate.ts';
import type { CertificateSignatureAlgorithm, LeafProfile } from '../../../spiffe/leaf-certificate.ts';
import { subjectKeyIdOf } from '../../../spiffe/public-key.ts';
import { createSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { createTestKey } from '../../support/test-keys.ts';
import type { TestKey } from '../../support/test-keys.ts';
import { goTool, isInstalled, pythonVenv } from '../../support/toolchain.ts';

const execute = promisify(execFile);
const trustDomain = parseTrustDomain('example.org');
const nowMs = Date.now();
const times = { notBeforeMs: nowMs - 10_000, notAfterMs: nowMs + 3_600_000 };
const serial = (): Uint8Array => Uint8Array.from([0x40, ...randomBytes(15)]);

/** Rules of browsers and of public CAs. */
const NOT_OURS = 'Apple,CABF_BR,CABF_EV,CABF_SMIME_BR,ETSI_ESI,Mozilla';

const AUTHORITIES = [
  ['P-256', 'ecdsa-with-SHA256', 'sha256'],
  ['P-384', 'ecdsa-with-SHA384', 'sha384'],
  ['RSA-2048', 'sha256WithRSAEncryption', 'sha256'],
  ['Ed25519', 'ed25519', null],
] as const;

interface Authority {
  readonly key: TestKey;
  readonly der: Uint8Array;
  issue(tbs: Uint8Array): Uint8Array;
}

function createAuthority(
  kind: TestKey['kind'],
  signatureAlgorithm: CertificateSignatureAlgorithm,
  hash: string | null,
): Authority {
  const key = createTestKey(kind);
  const issue = (tbs: Uint8Array): Uint8Array => assembleCertificate(tbs, signatureAlgorithm, sign(hash, tbs, key.privateKey));
  const tbs = buildX509AuthorityTbs({
    ...times,
    notAfterMs: nowMs + 86_400_000,
    serial: serial(),
    signatureAlgorithm,
    subject: { ...DEFAULT_AUTHORITY_SUBJECT, serialNumber: '12345' },
    spki: key.spki,
    id: createSpiffeId(trustDomain, ''),
    subjectKeyId: subjectKeyIdOf(key.spki),
  });
  return { key, der: issue(tbs), issue };
}

/** Leaves of every shape that issuance makes. */
function createLeaves(authority: Authority, signatureAlgorithm: CertificateSignatureAlgorithm): Record<string, Uint8Array> {
  const { subjectRaw, subjectKeyId = new Uint8Array() } = parseCertificate(authority.der);
  const leaf = (kind: TestKey['kind'], change: Partial<LeafProfile> = {}): Uint8Array => {
    const { spki } = createTestKey(kind);
    return authority.issue(
      buildX509SvidTbs({
        ...times,
        serial: serial(),
        signatureAlgorithm,
        issuerRaw: subjectRaw,
        subject: DEFAULT_SVID_SUBJECT,
        spki,
        id: createSpiffeId(trustDomain, '/ns/prod/sa/web'),
        dnsNames: [],
        subjectKeyId: subjectKeyIdOf(spki),
        authorityKeyId: subjectKeyId,
        ...change,
      }),
    );
  };
  return {
    p256: leaf('P-256'),
    p384: leaf('P-384'),
    rsa: leaf('RSA-2048'),
    ed25519: leaf('Ed25519'),
    'dns-names': leaf('P-256', { dnsNames: ['web.example.org', 'web-2.example.org'] }),
    'no-subject': leaf('P-256', { subject: {} }),
  };
}

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-lint-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function pemFile(name: string, der: Uint8Array): Promise<string> {
  const path = join(folder, `${name}.pem`);
  await writeFile(path, encodePem('CERTIFICATE', der));
  return path;
}

describe.each(AUTHORITIES)('certificates signed by %s', (kind, algorithm, hash) => {
  const authority = createAuthority(kind, algorithm, hash);
  const leaves = createLeaves(authority, algorithm);
  // The shapes of leaves are linted once; each linter takes a second for each certificate.
  const all = Object.entries({
    authority: authority.der,
    ...(kind === 'P-256' ? leaves : { leaf: leaves['p256'] ?? authority.der }),
  });

  test.skipIf(!isInstalled('openssl'))('[X509-SVID §5.1] openssl verifies them, strictly (needs openssl)', async () => {
    const root = await pemFile(`${kind}-root`, authority.der);
    for (const [name, der] of Object.entries(leaves)) {
      const leaf = await pemFile(`${kind}-${name}`, der);
      const purposes = ['sslclient', 'sslserver'].map((purpose) =>
        execute('openssl', ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', root, leaf]),
      );
      expect((await Promise.all(purposes)).map(({ stdout }) => stdout.trim())).toEqual([`${leaf}: OK`, `${leaf}: OK`]);
    }
  });

  test.skipIf(!isInstalled('go'))('zlint has no finding by the RFCs (needs go)', async () => {
    const zlint = await goTool('github.com/zmap/zlint/v3/cmd/zlint@v3.6.1');
    for (const [name, der] of all) {
      const file = await pemFile(`${kind}-${name}`, der);
      const { stdout } = await execute(zlint, ['-excludeSources', NOT_OURS, file]);
      // The cast is sound: one object with a result for each lint; an unknown shape fails below.
      const results = Object.entries(JSON.parse(stdout) as Record<string, { result: string }>);
      expect(results.length).toBeGreaterThan(100);
      const findings = results.filter(([, { result }]) => ['warn', 'error', 'fatal'].includes(result)).map(([lint]) => lint);
      expect([name, findings]).toEqual([name, []]);
    }
  });

  test.skipIf(!isInstalled('python3'))('pkilint has no finding but that it does not know spiffe:// (needs python3)', async () => {
    const lint = join(dirname(await pythonVenv(['pkilint==0.13.0'])), 'lint_pkix_cert');
    for (const [name, der] of all) {
      const file = await pemFile(`${kind}-${name}`, der);
      const { stdout } = await execute(lint, ['lint', '-s', 'NOTICE', '-f', 'JSON', file]).catch(
        (error: { stdout: string }) => error,
      );
      // The cast is sound: pkilint's report; an unknown shape fails here.
      const { results } = JSON.parse(stdout) as { results: { finding_descriptions: { code: string }[] }[] };
      const codes = results.flatMap(({ finding_descriptions: findings }) => findings.map(({ code }) => code));
      expect([name, codes]).toEqual([name, ['pkix.invalid_uri_syntax']]);
    }
  });
});
