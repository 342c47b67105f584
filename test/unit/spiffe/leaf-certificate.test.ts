import { createHash, sign, webcrypto } from 'node:crypto';
// @peculiar/x509 throws on import unless this came first.
// oxlint-disable-next-line import/no-unassigned-import
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseCertificate, parseTbsCertificate } from '../../../spiffe/certificate.ts';
import { encodeName } from '../../../spiffe/distinguished-name.ts';
import {
  DEFAULT_AUTHORITY_SUBJECT,
  DEFAULT_SVID_SUBJECT,
  assembleCertificate,
  buildX509AuthorityTbs,
  buildX509SvidTbs,
  uniqueIdOf,
} from '../../../spiffe/leaf-certificate.ts';
import type { AuthorityProfile, LeafProfile } from '../../../spiffe/leaf-certificate.ts';
import { subjectKeyIdOf } from '../../../spiffe/public-key.ts';
import { createSpiffeId, parseSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { thrownBy } from '../../support/thrown-by.ts';

const authorityKey = createTestKey();
const leafKey = createTestKey();
const authorityKeyId = subjectKeyIdOf(authorityKey.spki);
const profile: LeafProfile = {
  serial: Uint8Array.from(Buffer.from('5b299339124ab8532fa9d1ce4ba496', 'hex')),
  issuerRaw: encodeName({ ...DEFAULT_AUTHORITY_SUBJECT, serialNumber: '12345' }),
  signatureAlgorithm: 'ecdsa-with-SHA256',
  notBeforeMs: Date.UTC(2026, 0, 1, 12),
  notAfterMs: Date.UTC(2026, 0, 1, 13),
  subject: DEFAULT_SVID_SUBJECT,
  spki: leafKey.spki,
  id: parseSpiffeId('spiffe://example.org/ns/prod/sa/web'),
  dnsNames: ['web.example.org', '*.web.example.org'],
  subjectKeyId: subjectKeyIdOf(leafKey.spki),
  authorityKeyId,
};

/** The same certificate as `profile` describes, built by @peculiar/x509; returns its TBSCertificate. */
async function builtByPeculiar(): Promise<Uint8Array> {
  x509.cryptoProvider.set(webcrypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    authorityKey.privateKey.export({ type: 'pkcs8', format: 'der' }),
    algorithm,
    false,
    ['sign'],
  );
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: Buffer.from(profile.serial).toString('hex'),
    issuer: new x509.Name([
      { C: [{ printableString: 'US' }] },
      { O: [{ printableString: 'SPIFFE' }] },
      { '2.5.4.5': [{ printableString: '12345' }] },
    ]),
    subject: new x509.Name([
      { C: [{ printableString: 'US' }] },
      { O: [{ printableString: 'SPIRE' }] },
      { CN: [{ printableString: 'web.example.org' }] },
    ]),
    notBefore: new Date(profile.notBeforeMs),
    notAfter: new Date(profile.notAfterMs),
    publicKey: new x509.PublicKey(new Uint8Array(leafKey.spki)),
    signingKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyAgreement, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth], false),
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.SubjectKeyIdentifierExtension(Buffer.from(profile.subjectKeyId).toString('hex')),
      new x509.AuthorityKeyIdentifierExtension(Buffer.from(authorityKeyId).toString('hex')),
      new x509.SubjectAlternativeNameExtension([
        ...profile.dnsNames.map((value) => ({ type: 'dns' as const, value })),
        { type: 'url', value: profile.id.toString() },
      ]),
    ],
  });
  return parseCertificate(new Uint8Array(certificate.rawData)).signedPart;
}

describe('the leaf of an X509-SVID', () => {
  test('is byte for byte what @peculiar/x509 builds from the same inputs', async () => {
    expect(Buffer.from(buildX509SvidTbs(profile)).toString('hex')).toBe(Buffer.from(await builtByPeculiar()).toString('hex'));
  });

  test('reads in @peculiar/x509 and verifies there', async () => {
    x509.cryptoProvider.set(webcrypto);
    const tbs = buildX509SvidTbs(profile);
    const der = assembleCertificate(tbs, 'ecdsa-with-SHA256', sign('sha256', tbs, authorityKey.privateKey));
    const certificate = new x509.X509Certificate(new Uint8Array(der));
    expect(certificate.serialNumber).toBe('5b299339124ab8532fa9d1ce4ba496');
    expect(certificate.subject).toBe('C=US, O=SPIRE, CN=web.example.org');
    expect(certificate.notAfter).toEqual(new Date(profile.notAfterMs));
    expect(certificate.extensions.map(({ type, critical }) => [type, critical])).toEqual([
      ['2.5.29.15', true],
      ['2.5.29.37', false],
      ['2.5.29.19', true],
      ['2.5.29.14', false],
      ['2.5.29.35', false],
      ['2.5.29.17', false],
    ]);
    const publicKey = await new x509.PublicKey(new Uint8Array(authorityKey.spki)).export();
    expect(await certificate.verify({ publicKey, signatureOnly: true })).toBe(true);
  });

  test('has the subject that SPIRE gives: C=US, O=SPIRE and the first DNS name as common name', () => {
    const withName = parseTbsCertificate(buildX509SvidTbs(profile));
    expect(withName.subject.map(({ value }) => value)).toEqual(['US', 'SPIRE', 'web.example.org']);
    const without = parseTbsCertificate(buildX509SvidTbs({ ...profile, dnsNames: [] }));
    expect(without.subject.map(({ value }) => value)).toEqual(['US', 'SPIRE']);
  });

  test('takes the subject of a CSR as it stands, with its common name replaced by the first DNS name', () => {
    const subject = encodeName({ organization: 'Acme', commonName: 'old' });
    const kept = parseTbsCertificate(buildX509SvidTbs({ ...profile, subject, dnsNames: [] }));
    expect(kept.subjectRaw).toEqual(subject);
    const replaced = parseTbsCertificate(buildX509SvidTbs({ ...profile, subject }));
    expect(replaced.subject.map(({ value }) => value)).toEqual(['Acme', 'web.example.org']);
  });

  test('can carry the unique ID of SPIRE', () => {
    const uniqueId = uniqueIdOf(profile.id);
    expect(uniqueId).toBe(createHash('sha256').update('spiffe://example.org/ns/prod/sa/web').digest('hex').slice(0, 32));
    const { subject } = parseTbsCertificate(
      buildX509SvidTbs({ ...profile, dnsNames: [], subject: { ...DEFAULT_SVID_SUBJECT, uniqueId } }),
    );
    expect(subject.at(-1)).toEqual({ oid: '2.5.4.45', value: uniqueId });
  });

  test('[X509-SVID §3.1] the alternative name MUST be critical if the subject is omitted', () => {
    const bare = parseTbsCertificate(buildX509SvidTbs({ ...profile, subject: {}, dnsNames: [] }));
    expect(bare.extensions.get('2.5.29.17')?.critical).toBe(true);
    expect(bare.subject).toEqual([]);
    expect(parseTbsCertificate(buildX509SvidTbs(profile)).extensions.get('2.5.29.17')?.critical).toBe(false);
  });

  test('[X509-SVID §2] has exactly one URI name; [X509-SVID §4.1] is no CA; [X509-SVID §4.3] key usage is critical', () => {
    const tbs = parseTbsCertificate(buildX509SvidTbs(profile));
    expect(tbs.uriSans).toEqual(['spiffe://example.org/ns/prod/sa/web']);
    expect(tbs.isCa).toBe(false);
    expect(tbs.extensions.get('2.5.29.15')?.critical).toBe(true);
  });

  test.each([
    ['P-256', ['digitalSignature', 'keyAgreement']],
    ['P-384', ['digitalSignature', 'keyAgreement']],
    ['P-521', ['digitalSignature', 'keyAgreement']],
    ['RSA-2048', ['digitalSignature', 'keyEncipherment']],
    ['Ed25519', ['digitalSignature']],
  ] as const)('[X509-SVID §4.3] MUST set digitalSignature; MAY set others that the key can do: %s', (kind, usages) => {
    const { spki } = createTestKey(kind);
    expect([...(parseTbsCertificate(buildX509SvidTbs({ ...profile, spki })).keyUsage ?? [])]).toEqual(usages);
  });

  test('is not built for a key that is not accepted', () => {
    const { spki } = createTestKey('RSA-1024');
    expect(thrownBy(() => buildX509SvidTbs({ ...profile, spki }))).toMatchObject({ code: 'invalid_argument', field: 'spki' });
  });

  test('[X509-SVID §4.4] extended key usage SHOULD be there, with serverAuth and clientAuth', () => {
    expect(parseTbsCertificate(buildX509SvidTbs(profile)).extendedKeyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  });

  test('writes times as UTCTime through 2049 and as GeneralizedTime from 2050', () => {
    const late = parseTbsCertificate(buildX509SvidTbs({ ...profile, notAfterMs: Date.UTC(2050, 0, 1) }));
    expect(late.notAfterMs).toBe(Date.UTC(2050, 0, 1));
    expect(Buffer.from(buildX509SvidTbs({ ...profile, notAfterMs: Date.UTC(2050, 0, 1) })).includes('20500101000000Z')).toBe(
      true,
    );
    expect(Buffer.from(buildX509SvidTbs({ ...profile, notAfterMs: Date.UTC(2049, 11, 31) })).includes('491231000000Z')).toBe(
      true,
    );
  });

  test.each(['exämple.org', 'a b.example', '', 'a\0.example'])('refuses the DNS name %j, which is not ASCII', (name) => {
    expect(thrownBy(() => buildX509SvidTbs({ ...profile, dnsNames: ['ok.example.org', name] }))).toMatchObject({
      code: 'invalid_argument',
      field: 'dns_names[1]',
    });
  });

  test.each([
    ['ecdsa-with-SHA384', 'P-384', 'sha384'],
    ['ecdsa-with-SHA512', 'P-521', 'sha512'],
    ['sha256WithRSAEncryption', 'RSA-2048', 'sha256'],
    ['sha384WithRSAEncryption', 'RSA-2048', 'sha384'],
    ['sha512WithRSAEncryption', 'RSA-2048', 'sha512'],
    ['ed25519', 'Ed25519', null],
  ] as const)('is signed with %s', (signatureAlgorithm, kind, hash) => {
    const key = createTestKey(kind);
    const tbs = buildX509SvidTbs({ ...profile, signatureAlgorithm });
    const certificate = parseCertificate(assembleCertificate(tbs, signatureAlgorithm, sign(hash, tbs, key.privateKey)));
    expect(certificate.signatureAlgorithm).toBe(signatureAlgorithm);
    expect(Buffer.compare(certificate.signedPart, tbs)).toBe(0);
  });

  test('property: whatever goes in reads back', () => {
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
    const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,30}$/);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 20 }).filter((bytes) => (bytes[0] ?? 0) > 0),
        fc.array(segment, { minLength: 1, maxLength: 5 }),
        fc.array(label, { maxLength: 4 }),
        fc.integer({ min: Date.UTC(1970, 0, 1), max: Date.UTC(2100, 0, 1) }),
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }),
        (serial, path, dnsNames, notBeforeMs, organization) => {
          const id = createSpiffeId(parseTrustDomain('example.org'), path);
          const times = { notBeforeMs, notAfterMs: notBeforeMs + 3_600_000 };
          const tbs = parseTbsCertificate(
            buildX509SvidTbs({ ...profile, ...times, serial, id, dnsNames, subject: { organization } }),
          );
          expect(BigInt(`0x${tbs.serialHex}`)).toBe(BigInt(`0x${Buffer.from(serial).toString('hex')}`));
          expect(tbs.uriSans).toEqual([id.toString()]);
          expect(tbs.dnsSans).toEqual(dnsNames);
          expect(tbs.notBeforeMs).toBe(Math.floor(notBeforeMs / 1000) * 1000);
          expect(tbs.subject[0]?.value).toBe(organization);
          expect(Buffer.compare(tbs.spki, leafKey.spki)).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('the certificate of an X.509 authority', () => {
  const selfSigned: AuthorityProfile = {
    serial: profile.serial,
    signatureAlgorithm: profile.signatureAlgorithm,
    notBeforeMs: profile.notBeforeMs,
    notAfterMs: profile.notAfterMs,
    subject: { ...DEFAULT_AUTHORITY_SUBJECT, serialNumber: '7' },
    spki: authorityKey.spki,
    id: createSpiffeId(parseTrustDomain('example.org'), ''),
    subjectKeyId: authorityKeyId,
  };

  test('[X509-SVID §3.2] [X509-SVID §4.1] [X509-SVID §4.3] is a CA with keyCertSign and the ID of its trust domain', () => {
    const tbs = parseTbsCertificate(buildX509AuthorityTbs(selfSigned));
    expect(tbs.isCa).toBe(true);
    expect(tbs.pathLength).toBeUndefined();
    expect([...(tbs.keyUsage ?? [])]).toEqual(['keyCertSign', 'cRLSign']);
    expect(tbs.uriSans).toEqual(['spiffe://example.org']);
    expect(tbs.issuerRaw).toEqual(tbs.subjectRaw);
    expect(tbs.authorityKeyId).toBeUndefined();
    expect(tbs.extendedKeyUsage).toBeUndefined();
  });

  test('[X509-SVID §4.1] MAY set the path length; lies below an issuer; takes a subject in DER', () => {
    const subject = encodeName({ commonName: 'Sub CA ünïcode' });
    const tbs = parseTbsCertificate(
      buildX509AuthorityTbs({ ...selfSigned, issuerRaw: profile.issuerRaw, authorityKeyId, subject, pathLength: 0 }),
    );
    expect(tbs.pathLength).toBe(0);
    expect(tbs.issuerRaw).toEqual(profile.issuerRaw);
    expect(tbs.authorityKeyId).toEqual(Uint8Array.from(authorityKeyId));
    expect(tbs.subjectCommonName).toBe('Sub CA ünïcode');
  });
});
