import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';

/** What was issued. */
export type IssuedKind = 'x509-svid' | 'jwt-svid' | 'wit-svid' | 'agent-svid' | 'server-svid' | 'downstream-ca' | 'authority';

/** One issued document: who asked, for what, and how to recognise it. No key, token or CSR is in it. */
export interface AuditRecord {
  readonly timeMs: number;
  readonly kind: IssuedKind;
  /** The SPIFFE ID that was given. */
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

/** What an {@link AuditLog} is opened with. */
export interface AuditLogOptions {
  /** Absolute; made with mode 0600. Rotated files get `.1`, `.2`, … behind it. */
  readonly file: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Size at which the file is rotated; 64 MiB unless given. */
  readonly maxBytes?: number | undefined;
  /** How many rotated files are kept; 8 unless given. */
  readonly keepFiles?: number | undefined;
}

/**
 * The record of everything issued: JSON lines, on the disk before an SVID leaves. Writers that come together share one write.
 * When the file cannot be written, `append` fails with `unavailable` until it can be again: what cannot be recorded is not issued.
 */
export class AuditLog implements AsyncDisposable {
  /** Opens the file, mending a last line that a kill left torn. @throws IdentityError `unavailable` */
  static open(options: AuditLogOptions): Promise<AuditLog> {
    throw new IdentityError('unimplemented', `not built yet ${options.file}`);
  }

  /** Resolves when the records are on the disk. @throws IdentityError `unavailable` */
  append(records: readonly AuditRecord[]): Promise<void> {
    throw new IdentityError('unimplemented', `not built yet ${records.length}`);
  }

  /** Why nothing can be recorded, and so nothing issued; undefined when all is well. For readiness. */
  fault(): string | undefined {
    return undefined;
  }

  /** Writes what is waiting and closes the file. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
