import type { AuditLog } from '../audit/audit-log.ts';
import type { AuditRecord } from '../audit/audit-record.ts';

/**
 * Signs while the audit record is on its way to the disk, and waits for both: nothing leaves without its record. A record
 * without an SVID may remain when signing fails, which is the harmless side to err on.
 *
 * @throws IdentityError `unavailable` when the record cannot be written; whatever `sign` throws
 */
export async function signRecorded<T>(
  audit: Pick<AuditLog, 'append'>,
  record: AuditRecord,
  sign: () => T | Promise<T>,
): Promise<T> {
  const recorded = audit.append([record]);
  // It is awaited below; until then its failure must not count as unhandled.
  recorded.catch(() => undefined);
  const signed = await sign();
  await recorded;
  return signed;
}
