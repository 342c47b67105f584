import { createHash } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { parseCsr, spiffeIdOfCsr, verifyCsr } from '../../spiffe/csr.ts';
import { buildX509SvidTbs, DEFAULT_SVID_SUBJECT, type CertificateSignatureAlgorithm } from '../../spiffe/leaf-certificate.ts';
import { lintX509Svid } from '../../spiffe/lint.ts';
import { parsePublicKey, subjectKeyIdOf } from '../../spiffe/public-key.ts';
import { parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { checkDnsName, checkWildcardOverlap } from '../../spiffe/dns-name.ts';
import { createSerialNumber } from '../authorities/serial-number.ts';
import { requireWorkloadId } from './workload-id.ts';

/** What of an X.509 authority goes into a certificate that it signs. Plain data, so that worker threads can be told. */
export interface IssuerProfile {
  readonly trustDomain: string;
  readonly issuerRaw: Uint8Array;
  readonly authorityKeyId: Uint8Array;
  readonly signatureAlgorithm: CertificateSignatureAlgorithm;
  readonly expiresAtMs: number;
}

/** One X509-SVID to be made. Plain data. */
export interface X509Order {
  /** A CSR, or a SubjectPublicKeyInfo whose holder is known. */
  readonly keyKind: 'csr' | 'spki';
  readonly key: Uint8Array;
  /** Undefined: SPIFFE ID, DNS names and subject are what the CSR asks for. */
  readonly spiffeId: string | undefined;
  readonly dnsNames: readonly string[];
  readonly nowMs: number;
  /** Whole seconds. */
  readonly notAfterMs: number;
}

/** What is fit to be signed. */
export interface PreparedX509 {
  readonly tbs: Uint8Array;
  readonly spiffeId: SpiffeId;
  readonly serial: Uint8Array;
  /** SHA-256 of the key, base64url. */
  readonly digest: string;
}

/** How far an SVID reaches back, for verifiers whose clock is behind; as in SPIRE. */
const BACKDATE_MS = 10_000;

/**
 * The first of the two steps: verifies the CSR, makes the profile and lints it.
 *
 * @throws IdentityError `invalid_argument` for the request, `internal` when the profile is not fit to be signed
 */
export function prepareX509(order: X509Order, issuer: IssuerProfile): PreparedX509 {
  return profileX509(admitX509(order, issuer), order, issuer);
}

/**
 * The first half of {@link prepareX509}: verifies the request. All that an audit record says is known then.
 *
 * @throws IdentityError `invalid_argument`
 */
export function admitX509(order: X509Order, issuer: IssuerProfile): AdmittedX509 {
  const subject = order.keyKind === 'csr' ? readCsr(order, issuer) : readKey(order);
  const digest = createHash('sha256').update(subject.spki).digest('base64url');
  return { ...subject, serial: createSerialNumber(), digest };
}

/**
 * The second half of {@link prepareX509}: makes the profile and lints it.
 *
 * @throws IdentityError `invalid_argument` for a name that cannot be written, `internal` when it is not fit to be signed
 */
export function profileX509(admitted: AdmittedX509, order: X509Order, issuer: IssuerProfile): PreparedX509 {
  const { spki, spiffeId, serial, digest } = admitted;
  const tbs = buildX509SvidTbs({
    serial,
    issuerRaw: issuer.issuerRaw,
    signatureAlgorithm: issuer.signatureAlgorithm,
    notBeforeMs: Math.floor((order.nowMs - BACKDATE_MS) / 1000) * 1000,
    notAfterMs: order.notAfterMs,
    subject: admitted.subjectRaw ?? DEFAULT_SVID_SUBJECT,
    spki,
    id: spiffeId,
    dnsNames: admitted.dnsNames,
    subjectKeyId: subjectKeyIdOf(spki),
    authorityKeyId: issuer.authorityKeyId,
  });
  lintX509Svid(tbs, { nowMs: order.nowMs, authorityNotAfterMs: issuer.expiresAtMs, id: spiffeId });
  return { tbs, spiffeId, serial, digest };
}

/** A request that may be granted, and what its certificate will be known by. */
export interface AdmittedX509 extends CertifiedSubject {
  readonly serial: Uint8Array;
  /** SHA-256 of the key, base64url. */
  readonly digest: string;
}

/** What is certified, and for whom. */
interface CertifiedSubject {
  readonly spki: Uint8Array;
  readonly spiffeId: SpiffeId;
  readonly dnsNames: readonly string[];
  /** A Name from a CSR; undefined: the default one. */
  readonly subjectRaw: Uint8Array | undefined;
}

const EMPTY_NAME_BYTES = 2;

function readCsr({ key, spiffeId, dnsNames }: X509Order, issuer: IssuerProfile): CertifiedSubject {
  const csr = parseCsr(key);
  verifyCsr(csr);
  const { spki, subjectRaw } = csr;
  if (spiffeId !== undefined) return { spki, spiffeId: parseSpiffeId(spiffeId), dnsNames, subjectRaw: undefined };
  const id = spiffeIdOfCsr(csr);
  requireWorkloadId(id, parseTrustDomain(issuer.trustDomain), 'csr.uri_san');
  csr.dnsSans.forEach((name) => checkDnsName(name, 'csr.dns_names'));
  checkWildcardOverlap(csr.dnsSans, 'csr.dns_names');
  return { spki, spiffeId: id, dnsNames: csr.dnsSans, subjectRaw: subjectRaw.length > EMPTY_NAME_BYTES ? subjectRaw : undefined };
}

function readKey({ key, spiffeId, dnsNames }: X509Order): CertifiedSubject {
  // Importing proves that it is a point of its curve, which reading does not.
  parsePublicKey(key).keyObject();
  if (spiffeId === undefined) throw new IdentityError('internal', 'a key alone names no SPIFFE ID');
  return { spki: key, spiffeId: parseSpiffeId(spiffeId), dnsNames, subjectRaw: undefined };
}
