import { X509Certificate } from 'node:crypto';
// @peculiar/x509 throws on import unless this came first: it may be imported in this file alone.
// oxlint-disable-next-line import/no-unassigned-import -- imported for what it does to Reflect
import 'reflect-metadata';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  type JsonName,
} from '@peculiar/x509';
import { IdentityError } from '../../core/errors.ts';
import { subjectKeyIdOf } from '../../spiffe/public-key.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { SigningKey } from '../keys/key-store.ts';
import { webCryptoOf } from '../keys/web-crypto.ts';
import { createSerialNumber, serialToDecimal } from './serial-number.ts';

/** What an authority's certificate is made from. */
export interface AuthorityCertificateRequest {
  readonly trustDomain: TrustDomain;
  /** The authority's own key, a SubjectPublicKeyInfo. */
  readonly publicKeySpki: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** How many authorities may follow below; not limited unless given. */
  readonly pathLength?: number | undefined;
  /** Who signs: the authority's own key, or that of the authority above. */
  readonly signer: SigningKey;
  /** The authority above; self-signed unless given. */
  readonly issuer?: { readonly subjectRaw: Uint8Array; readonly subjectKeyId: Uint8Array } | undefined;
  /** Under whose name a downstream authority stands, and how deep, as SPIRE names it; `C=US, O=SPIFFE` unless given. */
  readonly downstreamOf?: { readonly subjectRaw: Uint8Array; readonly depth: number } | undefined;
}

const SERIAL_NUMBER_OID = '2.5.4.5';

/** The certificate of an X.509 authority (X509-SVID §3.2, RFC 5280), DER. @throws IdentityError `internal` when the signature is not valid */
export async function createAuthorityCertificate(request: AuthorityCertificateRequest): Promise<Uint8Array> {
  const { crypto, signingKey } = await webCryptoOf(request.signer);
  const serial = createSerialNumber();
  const subject = request.downstreamOf === undefined ? authorityName(serial) : downstreamName(request.downstreamOf);
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: Buffer.from(serial).toString('hex'),
      subject,
      issuer: request.issuer === undefined ? subject : new Name(request.issuer.subjectRaw),
      notBefore: new Date(request.notBeforeMs),
      notAfter: new Date(request.notAfterMs),
      publicKey: request.publicKeySpki,
      signingKey,
      extensions: extensionsOf(request),
    },
    crypto,
  );
  const der = new Uint8Array(certificate.rawData);
  // A certificate that nobody can verify would be noticed only when it signs: days later.
  if (new X509Certificate(der).verify(request.signer.publicKey)) return der;
  throw new IdentityError('internal', 'the key store made a signature that its public key does not verify');
}

/** SPIRE's default; the serial number in it keeps the names of two authorities apart. */
function authorityName(serial: Uint8Array): Name {
  return new Name([{ C: ['US'] }, { O: ['SPIFFE'] }, { [SERIAL_NUMBER_OID]: [{ printableString: serialToDecimal(serial) }] }]);
}

function downstreamName({ subjectRaw, depth }: { readonly subjectRaw: Uint8Array; readonly depth: number }): Name {
  const unit = { OU: [`DOWNSTREAM-${depth}`] };
  const parent: JsonName = new Name(subjectRaw).toJSON().filter((part) => !('OU' in part));
  const afterOrganization = parent.findLastIndex((part) => 'O' in part || 'C' in part) + 1;
  return new Name(parent.toSpliced(afterOrganization, 0, unit));
}

function extensionsOf({ trustDomain, publicKeySpki, pathLength, issuer }: AuthorityCertificateRequest) {
  return [
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    new BasicConstraintsExtension(true, pathLength, true),
    new SubjectKeyIdentifierExtension(Buffer.from(subjectKeyIdOf(publicKeySpki)).toString('hex')),
    ...(issuer === undefined ? [] : [new AuthorityKeyIdentifierExtension(Buffer.from(issuer.subjectKeyId).toString('hex'))]),
    new SubjectAlternativeNameExtension([{ type: 'url', value: trustDomain.idString }]),
  ];
}
