/** What was issued. */
export type IssuedKind =
  | 'x509-svid'
  | 'jwt-svid'
  | 'wit-svid'
  | 'agent-svid'
  | 'server-svid'
  | 'admin-svid'
  | 'downstream-ca'
  | 'access-token';

/** One issued document: who asked, for what, and how to recognise it. No key, token or CSR is in it. */
export interface AuditRecord {
  readonly timeMs: number;
  readonly kind: IssuedKind;
  /** The SPIFFE ID that was given; for an access token that of the workload that it was given to. */
  readonly spiffeId: string;
  /** Who asked: a SPIFFE ID, `local uid=0 pid=42`, or `self`. */
  readonly caller: string;
  /** The registration entry that allowed it; empty when none did. */
  readonly entryId: string;
  /** Serial number in lower-case hexadecimal, or `jti`; empty for a token without one. */
  readonly serial: string;
  /** SHA-256, base64url: of the certified key (SubjectPublicKeyInfo), or of the signed part of a JWT-SVID. */
  readonly digest: string;
  /** The authority that signed. */
  readonly authorityId: string;
  readonly expiresAtMs: number;
}

/** The record as one line of JSON, with its line feed; times are RFC 3339 in UTC. */
export function formatRecord(record: AuditRecord): string {
  const line = {
    time: new Date(record.timeMs).toISOString(),
    kind: record.kind,
    spiffeId: record.spiffeId,
    caller: record.caller,
    entryId: record.entryId,
    serial: record.serial,
    digest: record.digest,
    authorityId: record.authorityId,
    expiresAt: new Date(record.expiresAtMs).toISOString(),
  };
  return `${JSON.stringify(line)}\n`;
}
