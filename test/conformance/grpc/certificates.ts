// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 needs what it does to Reflect
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;

/** A certificate with its key and those above it, as PEM. */
export interface Certificate {
  /** The certificate and its intermediates, leaf first. */
  readonly cert: string;
  readonly key: string;
  /** The certificates of `cert` and the root, as DER. */
  readonly der: readonly Uint8Array[];
}

/** A root with one intermediate, good for a day. */
export interface Authority {
  readonly rootPem: string;
  issue(names: { readonly dns?: string; readonly uri?: string }): Promise<Certificate>;
}

/** Makes a throw-away certificate authority. */
export async function createAuthority(): Promise<Authority> {
  x509.cryptoProvider.set(webcrypto);
  const rootKeys = await newKeys();
  const dates = { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) };
  const extensions = [
    new x509.BasicConstraintsExtension(true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
  ];
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...dates,
    name: 'CN=root',
    keys: rootKeys,
    signingAlgorithm: P256,
    extensions,
  });
  const keys = await newKeys();
  const signedBy = (issuer: x509.X509Certificate, signingKey: webcrypto.CryptoKey) => ({
    ...dates,
    issuer: issuer.subject,
    signingKey,
  });
  const intermediate = await x509.X509CertificateGenerator.create({
    ...signedBy(root, rootKeys.privateKey),
    subject: 'CN=intermediate',
    publicKey: keys.publicKey,
    signingAlgorithm: P256,
    extensions,
  });
  return {
    rootPem: root.toString('pem'),
    async issue({ dns, uri }) {
      const leafKeys = await newKeys();
      const names: x509.JsonGeneralNames = [];
      if (dns !== undefined) names.push({ type: 'dns', value: dns });
      if (uri !== undefined) names.push({ type: 'url', value: uri });
      const leaf = await x509.X509CertificateGenerator.create({
        ...signedBy(intermediate, keys.privateKey),
        subject: 'CN=leaf',
        publicKey: leafKeys.publicKey,
        signingAlgorithm: P256,
        extensions: [
          new x509.SubjectAlternativeNameExtension(names),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        ],
      });
      return {
        cert: `${leaf.toString('pem')}\n${intermediate.toString('pem')}\n`,
        key: await privateKeyPem(leafKeys.privateKey),
        der: [leaf, intermediate, root].map(({ rawData }) => new Uint8Array(rawData)),
      };
    },
  };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
}

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
