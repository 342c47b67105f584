import { X509Certificate } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodePem,
  encodePem,
  parseCertificate,
  parsePemCertificates,
  parseTbsCertificate,
} from '../../../spiffe/certificate.ts';
import { encodeExtension } from '../../../spiffe/certificate-writer.ts';
import { TAG, contextConstructedTag, contextTag } from '../../../spiffe/der.ts';
import {
  der,
  derAscii,
  derBitString,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derSmallInteger,
  derTime,
  derTrue,
  derUnsigned,
} from '../../../spiffe/der-writer.ts';
import { encodeSignatureAlgorithm } from '../../../spiffe/signature-algorithm.ts';
import { TestCa } from '../../support/test-ca.ts';
import { createTestKey } from '../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const ca = TestCa.create({ nowMs: Date.UTC(2026, 5, 1) });
const key = createTestKey();
const ecdsa = encodeSignatureAlgorithm('ecdsa-with-SHA256');
const refused = { code: 'invalid_argument', field: 'certificate' } as const;

const VERSION_3 = der(contextConstructedTag(0), derSmallInteger(2));
const SERIAL = derSmallInteger(7);
const NAME = derSequence();
const VALIDITY = derSequence(derTime(0), derTime(3_600_000));
const KEY_USAGE = encodeExtension('2.5.29.15', derBitString(Uint8Array.of(0x80), 7), true);

const extensions = (...list: readonly Uint8Array[]): Uint8Array => der(contextConstructedTag(3), derSequence(...list));
/** A certificate around any parts of a TBSCertificate; its signature is nonsense. */
const certificateOf = (...parts: readonly Uint8Array[]): Uint8Array =>
  derSequence(derSequence(...parts), ecdsa, derBitString(Uint8Array.of(1)));
const withExtensions = (...list: readonly Uint8Array[]): Uint8Array =>
  certificateOf(VERSION_3, SERIAL, ecdsa, NAME, VALIDITY, NAME, key.spki, extensions(...list));

describe('certificate', () => {
  test('is read as node:crypto reads it', () => {
    const svid = ca.issueX509Svid('/web', {
      dnsNames: ['web.example.org'],
      subject: { commonName: 'web' },
      serial: Uint8Array.of(0, 0xab),
    });
    const own = parseCertificate(svid.der);
    const node = new X509Certificate(svid.der);
    expect(own.serialHex).toBe('ab');
    expect(node.serialNumber.toLowerCase()).toBe('ab');
    expect(own.notBeforeMs).toBe(Date.parse(node.validFrom));
    expect(own.notAfterMs).toBe(Date.parse(node.validTo));
    expect(own.isCa).toBe(node.ca);
    expect(own.publicKey().equals(node.publicKey)).toBe(true);
    expect(own.subjectCommonName).toBe('web');
    expect(own.uriSans).toEqual(['spiffe://example.org/web']);
    expect(own.dnsSans).toEqual(['web.example.org']);
    expect(own.raw).toBe(svid.der);
    expect(own.authorityKeyId).toEqual(ca.root.certificate.subjectKeyId);
    expect(own.publicKey()).toBe(own.publicKey());
  });

  test('of X.509 version 1, as old roots are, has no extensions', () => {
    const certificate = parseCertificate(certificateOf(SERIAL, ecdsa, NAME, VALIDITY, NAME, key.spki));
    expect(certificate.isCa).toBe(false);
    expect(certificate.keyUsage).toBeUndefined();
    expect(certificate.uriSans).toEqual([]);
    expect(certificate.extensions.size).toBe(0);
  });

  test('of X.509 version 2 may have unique identifiers', () => {
    const version2 = der(contextConstructedTag(0), derSmallInteger(1));
    const ids = [der(contextTag(1), Uint8Array.of(0, 1)), der(contextTag(2), Uint8Array.of(0, 2))];
    expect(parseCertificate(certificateOf(version2, SERIAL, ecdsa, NAME, VALIDITY, NAME, key.spki, ...ids)).serialHex).toBe('7');
  });

  test('knows all nine key usages', () => {
    const all = encodeExtension('2.5.29.15', derBitString(Uint8Array.of(0xff, 0x80), 7), true);
    expect(parseCertificate(withExtensions(all)).keyUsage?.size).toBe(9);
    expect([...(parseCertificate(withExtensions(KEY_USAGE)).keyUsage ?? [])]).toEqual(['digitalSignature']);
  });

  test('lists the critical extensions that are not processed', () => {
    const list = [KEY_USAGE, encodeExtension('1.2.3', derNull, true), encodeExtension('1.2.4', derNull, false)];
    expect(parseCertificate(withExtensions(...list)).unknownCriticalExtensions).toEqual(['1.2.3']);
  });

  test('passes over alternative names of other kinds', () => {
    const names = derSequence(
      derAscii(contextTag(1), 'a@example.org'),
      der(contextConstructedTag(4), NAME),
      der(contextTag(7), Uint8Array.of(127, 0, 0, 1)),
      derAscii(contextTag(6), 'spiffe://example.org/a'),
    );
    expect(parseCertificate(withExtensions(encodeExtension('2.5.29.17', names, false))).uriSans).toEqual([
      'spiffe://example.org/a',
    ]);
  });

  test('names its authority otherwise than by key', () => {
    const authorityKeyId = encodeExtension('2.5.29.35', derSequence(der(contextTag(2), Uint8Array.of(1))), false);
    expect(parseCertificate(withExtensions(authorityKeyId)).authorityKeyId).toBeUndefined();
  });

  test.each([
    ['no certificate', Buffer.from('hello')],
    ['nothing', new Uint8Array(0)],
    ['trailing bytes', Buffer.concat([withExtensions(KEY_USAGE), Uint8Array.of(0)])],
    ['too large', new Uint8Array(65_537)],
    [
      'an unknown version',
      certificateOf(der(contextConstructedTag(0), derSmallInteger(3)), SERIAL, ecdsa, NAME, VALIDITY, NAME, key.spki),
    ],
    [
      'version 1 written out',
      certificateOf(der(contextConstructedTag(0), derSmallInteger(0)), SERIAL, ecdsa, NAME, VALIDITY, NAME, key.spki),
    ],
    ['version 1 with extensions', certificateOf(SERIAL, ecdsa, NAME, VALIDITY, NAME, key.spki, extensions(KEY_USAGE))],
    ['a negative serial number', certificateOf(VERSION_3, Uint8Array.of(2, 1, 0x80), ecdsa, NAME, VALIDITY, NAME, key.spki)],
    [
      'a serial number of 21 bytes',
      certificateOf(VERSION_3, derUnsigned(new Uint8Array(21).fill(1)), ecdsa, NAME, VALIDITY, NAME, key.spki),
    ],
    [
      'two different signature algorithms',
      certificateOf(VERSION_3, SERIAL, encodeSignatureAlgorithm('ecdsa-with-SHA384'), NAME, VALIDITY, NAME, key.spki),
    ],
    [
      'parameters for ECDSA',
      certificateOf(VERSION_3, SERIAL, derSequence(derOid('1.2.840.10045.4.3.2'), derNull), NAME, VALIDITY, NAME, key.spki),
    ],
    ['an extension twice', withExtensions(KEY_USAGE, KEY_USAGE)],
    ['an empty list of extensions', withExtensions()],
    ['a path length without CA flag', withExtensions(encodeExtension('2.5.29.19', derSequence(derSmallInteger(1)), true))],
    [
      'trailing bytes in basic constraints',
      withExtensions(encodeExtension('2.5.29.19', Buffer.concat([derSequence(derTrue), derNull]), true)),
    ],
    [
      'trailing bytes in key usage',
      withExtensions(encodeExtension('2.5.29.15', Buffer.concat([derBitString(Uint8Array.of(0x80), 7), derNull]), true)),
    ],
    [
      'trailing bytes in the subject key identifier',
      withExtensions(encodeExtension('2.5.29.14', Buffer.concat([derOctetString(Uint8Array.of(1)), derNull]), false)),
    ],
    ['an empty extended key usage', withExtensions(encodeExtension('2.5.29.37', derSequence(), false))],
    ['an empty alternative name', withExtensions(encodeExtension('2.5.29.17', derSequence(), false))],
    [
      'an alternative name of unknown kind',
      withExtensions(encodeExtension('2.5.29.17', derSequence(der(contextTag(9), derNull)), false)),
    ],
    [
      'a name constraint with a minimum',
      withExtensions(
        encodeExtension(
          '2.5.29.30',
          derSequence(
            der(contextConstructedTag(0), derSequence(derAscii(contextTag(6), 'a'), der(contextTag(0), Uint8Array.of(1)))),
          ),
          true,
        ),
      ),
    ],
    [
      'validity with a third time',
      certificateOf(VERSION_3, SERIAL, ecdsa, NAME, derSequence(derTime(0), derTime(1), derTime(2)), NAME, key.spki),
    ],
    ['a subject with an empty set', certificateOf(VERSION_3, SERIAL, ecdsa, NAME, VALIDITY, derSequence(derSet()), key.spki)],
    ['an issuer that is no name', certificateOf(VERSION_3, SERIAL, ecdsa, derSequence(derNull), VALIDITY, NAME, key.spki)],
    [
      'a subject that is not UTF-8',
      certificateOf(VERSION_3, SERIAL, ecdsa, NAME, VALIDITY, nameOf(der(TAG.utf8String, Uint8Array.of(0xff))), key.spki),
    ],
    [
      'a subject with PrintableString beyond ASCII',
      certificateOf(VERSION_3, SERIAL, ecdsa, NAME, VALIDITY, nameOf(der(TAG.printableString, Uint8Array.of(0xe4))), key.spki),
    ],
    [
      'something after the extensions',
      certificateOf(VERSION_3, SERIAL, ecdsa, NAME, VALIDITY, NAME, key.spki, extensions(KEY_USAGE), derNull),
    ],
  ])('with %s is refused', (_what, bytes) => {
    expect(thrownBy(() => parseCertificate(bytes))).toMatchObject(refused);
  });

  test('may write out FALSE, as some CAs do against DER', () => {
    const isFalse = Uint8Array.of(1, 1, 0);
    const extension = derSequence(derOid('1.2.3'), isFalse, derOctetString(derNull));
    const constraints = encodeExtension('2.5.29.19', derSequence(isFalse), true);
    expect(parseCertificate(withExtensions(extension, constraints))).toMatchObject({
      isCa: false,
      unknownCriticalExtensions: [],
    });
  });

  test('reads names in other string types as no text', () => {
    const bmp = nameOf(der(0x1e, Uint8Array.of(0, 0x61)));
    const { subject, subjectCommonName } = parseCertificate(
      certificateOf(VERSION_3, SERIAL, ecdsa, NAME, VALIDITY, bmp, key.spki, extensions(KEY_USAGE)),
    );
    expect(subject).toEqual([{ oid: '2.5.4.3', value: undefined }]);
    expect(subjectCommonName).toBeUndefined();
  });

  test('shows an unknown signature algorithm by its number', () => {
    const sha1 = derSequence(derOid('1.2.840.113549.1.1.5'), derNull);
    const bytes = derSequence(
      derSequence(VERSION_3, SERIAL, sha1, NAME, VALIDITY, NAME, key.spki),
      sha1,
      derBitString(Uint8Array.of(1)),
    );
    expect(parseCertificate(bytes).signatureAlgorithm).toBe('1.2.840.113549.1.1.5');
  });

  test('with a weak key is read; the key is refused when it is used', () => {
    const weak = ca.issueX509Svid('/web', { key: createTestKey('RSA-1024') });
    const certificate = parseCertificate(weak.der, 'peer');
    expect(thrownBy(() => certificate.publicKeyInfo)).toMatchObject({ code: 'invalid_argument', field: 'peer' });
  });

  test('that is not signed yet is read, too', () => {
    const { signedPart } = ca.issueX509Svid().certificate;
    expect(parseTbsCertificate(signedPart).uriSans).toEqual(['spiffe://example.org/workload']);
    expect(thrownBy(() => parseTbsCertificate(Buffer.concat([signedPart, derNull])))).toMatchObject(refused);
  });

  test('property: a certificate with one byte changed never fails otherwise than by a typed error', () => {
    const { der: bytes } = ca.issueX509Svid('/web', { dnsNames: ['a.example.org'] });
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (position, flip) => {
        const bent = Uint8Array.from(bytes);
        bent[position] = (bent[position] ?? 0) ^ flip;
        expect(codeOf(() => parseCertificate(bent).publicKeyInfo) ?? 'invalid_argument').toBe('invalid_argument');
      }),
      { numRuns: 1000 },
    );
  });
});

describe('PEM', () => {
  const svid = ca.issueX509Svid('/web', {}, [ca.issueIntermediate()]);

  test('of a chain reads back in order', () => {
    expect(parsePemCertificates(svid.chainPem).map(({ raw }) => raw)).toEqual(svid.chain);
  });

  test('is what node:crypto writes', () => {
    expect(encodePem('CERTIFICATE', svid.der)).toBe(new X509Certificate(svid.der).toString());
  });

  test('may have text around its blocks and other line ends', () => {
    const pem = `subject: x\r\n${svid.chainPem.replaceAll('\n', '\r\n')}\r\n# end`;
    expect(parsePemCertificates(pem)).toHaveLength(2);
  });

  test.each([
    ['nothing', ''],
    ['no block', 'hello'],
    ['another label', svid.keyPem],
    ['a certificate and a key', svid.chainPem + svid.keyPem],
    ['a block without end', '-----BEGIN CERTIFICATE-----\nMAA=\n'],
    ['ends of another label', '-----BEGIN CERTIFICATE-----\nMAA=\n-----END X509 CRL-----\n'],
    ['wrong base64', '-----BEGIN CERTIFICATE-----\nMAA\n-----END CERTIFICATE-----\n'],
    ['wrong characters', '-----BEGIN CERTIFICATE-----\nM*A=\n-----END CERTIFICATE-----\n'],
    ['headers', '-----BEGIN CERTIFICATE-----\nProc-Type: 4\n\nMAA=\n-----END CERTIFICATE-----\n'],
  ])('with %s is refused', (_what, pem) => {
    expect(thrownBy(() => parsePemCertificates(pem, 'bootstrap.file'))).toMatchObject({
      code: 'invalid_argument',
      field: 'bootstrap.file',
    });
  });

  test('with a certificate that cannot be read names it', () => {
    const pem = svid.chainPem + encodePem('CERTIFICATE', derSequence());
    expect(thrownBy(() => parsePemCertificates(pem, 'roots'))).toMatchObject({ code: 'invalid_argument', field: 'roots[2]' });
  });

  test('property: what is written reads back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        expect(decodePem(encodePem('X', bytes), 'X')).toEqual([bytes]);
      }),
    );
  });
});

function nameOf(value: Uint8Array): Uint8Array {
  return derSequence(derSet(derSequence(derOid('2.5.4.3'), value)));
}
