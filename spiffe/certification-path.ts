import { IdentityError, isIdentityError } from '../core/errors.ts';
import type { Certificate } from './certificate.ts';
import { nameConstraintFault } from './name-constraints.ts';
import { isSignatureValid } from './signature-algorithm.ts';

/** Longest path, leaf and authority included. */
const MAX_PATH_LENGTH = 10;
/** Most signatures that are verified for one leaf: hostile chains must not cost more. */
const MAX_SIGNATURES = 32;

/** What a path is looked for in. */
export interface PathRequest {
  readonly leaf: Certificate;
  /** Certificates between leaf and authority, in any order; untrusted. */
  readonly intermediates: readonly Certificate[];
  /** The trust anchors. */
  readonly authorities: readonly Certificate[];
  readonly nowMs: number;
}

/**
 * Finds and validates a certification path from a leaf to a trust anchor (RFC 5280 §6): names, signatures, validity, CA flag,
 * key usage, path length, name constraints and critical extensions.
 *
 * @returns the path, leaf first, trust anchor last
 * @throws IdentityError `unauthenticated` with the fault of the path that came closest
 */
export function findCertificationPath(request: PathRequest): readonly Certificate[] {
  const search: Search = { request, signaturesLeft: MAX_SIGNATURES, fault: 'no authority of the trust domain has signed it' };
  const leafFault = commonFault(request.leaf, request.nowMs);
  const path = leafFault === undefined ? extend(search, [request.leaf]) : undefined;
  if (path !== undefined) return path;
  throw new IdentityError('unauthenticated', `X.509-SVID is not trusted: ${leafFault ?? search.fault}`);
}

interface Search {
  readonly request: PathRequest;
  signaturesLeft: number;
  /** Why the last candidate was refused. */
  fault: string;
}

function extend(search: Search, path: readonly Certificate[]): readonly Certificate[] | undefined {
  const { authorities, intermediates } = search.request;
  for (const issuer of authorities) {
    if (isAccepted(search, path, issuer, true)) return [...path, issuer];
  }
  if (path.length + 2 > MAX_PATH_LENGTH) return undefined;
  for (const issuer of intermediates) {
    const isUsed = path.some(
      (used) => Buffer.compare(used.spki, issuer.spki) === 0 && sameBytes(used.subjectRaw, issuer.subjectRaw),
    );
    if (isUsed || !isAccepted(search, path, issuer, false)) continue;
    const found = extend(search, [...path, issuer]);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether the certificate may follow the path, as its last one's issuer. */
function isAccepted(search: Search, path: readonly Certificate[], issuer: Certificate, isAnchor: boolean): boolean {
  const subject = path.at(-1);
  if (subject === undefined || !sameBytes(subject.issuerRaw, issuer.subjectRaw) || !keyIdsFit(subject, issuer)) return false;
  const fault =
    commonFault(issuer, search.request.nowMs) ?? issuerFault(issuer, path, isAnchor) ?? signatureFault(search, subject, issuer);
  if (fault !== undefined) search.fault = fault;
  return fault === undefined;
}

/** Faults that leaf and authorities can have alike. */
function commonFault(certificate: Certificate, nowMs: number): string | undefined {
  const what = certificate.isCa ? 'an authority in its chain' : 'the certificate';
  if (nowMs < certificate.notBeforeMs) return `${what} is not valid yet`;
  // notAfter is the last valid second (RFC 5280 §4.1.2.5), as Go reads it too.
  if (nowMs > certificate.notAfterMs) return `${what} has expired`;
  const [unknown] = certificate.unknownCriticalExtensions;
  if (unknown !== undefined) return `${what} has the critical extension ${unknown}, which is not processed`;
  return undefined;
}

function issuerFault(issuer: Certificate, path: readonly Certificate[], isAnchor: boolean): string | undefined {
  if (!issuer.isCa) return 'a certificate in its chain is no CA';
  // RFC 5280 §6.1.4 (n). Presented intermediates must say so themselves (X509-SVID §4.3); an anchor without key usage is trusted by choice.
  const mayCertify = issuer.keyUsage?.has('keyCertSign') ?? isAnchor;
  if (!mayCertify) return 'a certificate in its chain lacks the key usage keyCertSign';
  const below = path.slice(1).filter((each) => !sameBytes(each.subjectRaw, each.issuerRaw)).length;
  if (issuer.pathLength !== undefined && below > issuer.pathLength) return 'the path length of an authority is exceeded';
  // X509-SVID §3.2.
  const hasPath = issuer.uriSans.some((uri) => uri.startsWith('spiffe://') && uri.slice('spiffe://'.length).includes('/'));
  if (!isAnchor && hasPath) return 'the SPIFFE ID of a signing certificate has a path';
  const [leaf] = path;
  if (issuer.nameConstraints === undefined || leaf === undefined) return undefined;
  return nameConstraintFault(issuer.nameConstraints, leaf);
}

function signatureFault(search: Search, subject: Certificate, issuer: Certificate): string | undefined {
  if (search.signaturesLeft-- <= 0) return 'its chain has too many candidates';
  try {
    const key = issuer.publicKeyInfo;
    return isSignatureValid(subject, key.kind, () => key.keyObject()) ? undefined : 'a signature in its chain is not valid';
  } catch (error) {
    // A candidate with a key that is not accepted must not hide another that would do.
    if (isIdentityError(error)) return `a key in its chain is not accepted (${error.message})`;
    throw error;
  }
}

/** When both name a key and the keys differ, the signature need not be tried. */
function keyIdsFit(subject: Certificate, issuer: Certificate): boolean {
  return (
    subject.authorityKeyId === undefined ||
    issuer.subjectKeyId === undefined ||
    sameBytes(subject.authorityKeyId, issuer.subjectKeyId)
  );
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
