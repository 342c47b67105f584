import { notYet } from './not-yet.ts';

/** What a linted SVID must be. */
export interface LintExpectation {
  readonly nowMs: number;
  /** When the signing authority ends: nothing it signs may outlive it. */
  readonly authorityNotAfterMs: number;
}

/** Checks a TBSCertificate or certificate of an X509-SVID before it is signed. @throws IdentityError `internal` that lists every finding */
export function lintX509Svid(tbsOrCertificate: Uint8Array, expected: LintExpectation): void {
  notYet(tbsOrCertificate, expected);
}

/** Checks a TBSCertificate or certificate of an X.509 authority. @throws IdentityError `internal` that lists every finding */
export function lintX509Authority(tbsOrCertificate: Uint8Array): void {
  notYet(tbsOrCertificate);
}
