// The certificates of a cluster of the tests: one authority, and what it issues to servers and users.
import { webcrypto } from 'node:crypto';

// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 throws on import unless this came first
import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { Extension, JsonGeneralName, X509CertificateCreateParamsName } from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

/** A certificate with its private key, both PEM. */
export interface KeyPairPem {
  readonly certificate: string;
  readonly key: string;
}

/** Whom a certificate is for. */
export interface Holder {
  /** The common name: to the API server, the user's name. */
  readonly name: string;
  /** The organizations: to the API server, the user's groups. */
  readonly groups?: readonly string[];
  /** For a server: its names and addresses. Without them the certificate is a client's. */
  readonly dnsNames?: readonly string[];
  readonly addresses?: readonly string[];
}

/** An authority whose certificates are valid for a day. */
export class TestPki {
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #name: X509CertificateCreateParamsName;
  /** The authority's own certificate and key. */
  readonly authority: KeyPairPem;

  private constructor(keys: webcrypto.CryptoKeyPair, name: X509CertificateCreateParamsName, authority: KeyPairPem) {
    this.#keys = keys;
    this.#name = name;
    this.authority = authority;
  }

  static async create(name = 'test-cluster'): Promise<TestPki> {
    const keys = await generateKeys();
    const subject = [{ CN: [name] }];
    const certificate = await X509CertificateGenerator.createSelfSigned(
      {
        name: subject,
        keys,
        signingAlgorithm: ALGORITHM,
        ...lifetime(),
        extensions: [
          new BasicConstraintsExtension(true, undefined, true),
          new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        ],
      },
      webcrypto,
    );
    return new TestPki(keys, subject, { certificate: certificate.toString('pem'), key: await privatePem(keys) });
  }

  async issue({ name, groups = [], dnsNames = [], addresses = [] }: Holder): Promise<KeyPairPem> {
    const keys = await generateKeys();
    const names = [
      ...dnsNames.map((value): JsonGeneralName => ({ type: 'dns', value })),
      ...addresses.map((value): JsonGeneralName => ({ type: 'ip', value })),
    ];
    const purposes =
      names.length > 0 ? [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth] : [ExtendedKeyUsage.clientAuth];
    const extensions: Extension[] = [
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension(purposes),
    ];
    if (names.length > 0) extensions.push(new SubjectAlternativeNameExtension(names));
    const certificate = await X509CertificateGenerator.create(
      {
        subject: [...groups.map((group) => ({ O: [group] })), { CN: [name] }],
        issuer: this.#name,
        publicKey: keys.publicKey,
        signingKey: this.#keys.privateKey,
        signingAlgorithm: ALGORITHM,
        ...lifetime(),
        extensions,
      },
      webcrypto,
    );
    return { certificate: certificate.toString('pem'), key: await privatePem(keys) };
  }
}

/** A key pair alone, such as the one that signs service-account tokens. */
export async function createKeyPairPem(): Promise<{ readonly publicKey: string; readonly privateKey: string }> {
  const keys = await generateKeys();
  const spki = await webcrypto.subtle.exportKey('spki', keys.publicKey);
  return { publicKey: PemConverter.encode(spki, 'PUBLIC KEY'), privateKey: await privatePem(keys) };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function privatePem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
}

function lifetime(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + DAY_MS) };
}
