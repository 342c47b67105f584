import { X509Certificate } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import type { Certificate } from '../../spiffe/certificate.ts';

/** What {@link findPaths} looks through. */
export interface PathSearch {
  readonly leaf: Certificate;
  readonly intermediates: readonly Certificate[];
  readonly roots: readonly Certificate[];
  readonly nowMs: number;
}

// A hostile chain can have many equal-looking issuers; each signature that is checked counts.
const MAX_SIGNATURE_CHECKS = 100;

/**
 * All paths from a node's certificate to a root (RFC 5280 §6), each without the leaf. Names need no constraint here: the
 * node is named by what its certificate is, not by what it says.
 *
 * @throws IdentityError `permission_denied` when there is none
 */
export function findPaths({ leaf, intermediates, roots, nowMs }: PathSearch): readonly (readonly Certificate[])[] {
  const paths: (readonly Certificate[])[] = [];
  const budget = { checks: MAX_SIGNATURE_CHECKS };
  let why = certificateFault(leaf, nowMs) ?? 'certificate signed by unknown authority';
  const extend = (path: readonly Certificate[], child: Certificate): void => {
    const below = path.length;
    for (const root of roots) if (issued(root, child, budget) && !note(caFault(root, nowMs, below))) paths.push([...path, root]);
    for (const issuer of intermediates) {
      if (path.includes(issuer) || !issued(issuer, child, budget) || note(caFault(issuer, nowMs, below))) continue;
      extend([...path, issuer], issuer);
    }
  };
  const note = (fault: string | undefined): boolean => {
    if (fault !== undefined) why = fault;
    return fault !== undefined;
  };
  if (certificateFault(leaf, nowMs) === undefined) extend([], leaf);
  if (paths.length > 0) return paths;
  throw new IdentityError('permission_denied', `certificate verification failed: ${why}`);
}

function issued(issuer: Certificate, child: Certificate, budget: { checks: number }): boolean {
  if (Buffer.compare(issuer.subjectRaw, child.issuerRaw) !== 0) return false;
  if (budget.checks-- <= 0)
    throw new IdentityError('permission_denied', 'certificate verification failed: too many possible issuers');
  try {
    return new X509Certificate(child.raw).verify(issuer.publicKey());
  } catch {
    return false; // A key that cannot be imported, or one of another algorithm than the signature.
  }
}

function certificateFault(certificate: Certificate, nowMs: number): string | undefined {
  if (nowMs > certificate.notAfterMs) return 'certificate has expired';
  if (nowMs < certificate.notBeforeMs) return 'certificate is not yet valid';
  return certificate.unknownCriticalExtensions.length > 0 ? 'certificate has an unhandled critical extension' : undefined;
}

/** @param below how many intermediates stand between this authority and the leaf */
function caFault(ca: Certificate, nowMs: number, below: number): string | undefined {
  if (!ca.isCa) return 'issuer is no certificate authority';
  if (ca.keyUsage !== undefined && !ca.keyUsage.has('keyCertSign')) return 'issuer may not sign certificates';
  if (ca.pathLength !== undefined && below > ca.pathLength) return 'path is longer than an issuer allows';
  return certificateFault(ca, nowMs);
}
