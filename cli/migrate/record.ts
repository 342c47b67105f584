// What a migration must remember between its steps: which authorities it carried to which side, and until when SPIRE's SVIDs
// may live. Neither server knows the former, and the latter cannot be asked once SPIRE is gone.
import { readFile, rename, writeFile } from 'node:fs/promises';

import { array, boolean, decode, integer, object, string, type Decoded } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';

const RECORD = object({
  trustDomain: string(),
  /** Fingerprints of authorities of ours that were added to SPIRE's bundle. */
  given: array(string()),
  /** Fingerprints of SPIRE's authorities that were added to our bundle. */
  taken: array(string()),
  /** Unix seconds: when the last SVID ends that SPIRE signed for the agents it was last seen with; 0 when it was never seen. */
  spireSvidsEndAt: integer({ min: 0 }),
  /** The longest lifetime of an SVID that SPIRE signs for a workload. */
  longestTtlSeconds: integer({ min: 0 }),
  /** Unix seconds: since when SPIRE does not answer; 0 while it does. It signs nothing from then on. */
  spireGoneSince: integer({ min: 0 }),
  /** Whether SPIRE's authorities were taken out again: nothing must bring them back. */
  finished: boolean,
});

/** The record of one migration; it holds no secret. */
export type MigrationRecord = Decoded<typeof RECORD>;

/**
 * Reads the record, or begins one.
 *
 * @throws IdentityError `failed_precondition` for a file that cannot be read or is of another trust domain
 */
export async function readRecord(file: string, trustDomain: string): Promise<MigrationRecord> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw new IdentityError('failed_precondition', `cannot read the record of the migration: ${cause.message}`, { cause });
  });
  if (text === undefined)
    return { trustDomain, given: [], taken: [], spireSvidsEndAt: 0, longestTtlSeconds: 0, spireGoneSince: 0, finished: false };
  const record = parseRecord(text, file);
  if (record.trustDomain === trustDomain) return record;
  throw new IdentityError(
    'failed_precondition',
    `${file} is of the trust domain ${record.trustDomain}; name another with --record`,
  );
}

function parseRecord(text: string, file: string): MigrationRecord {
  try {
    return decode(RECORD, JSON.parse(text));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'no JSON';
    throw new IdentityError('failed_precondition', `${file} is no record of a migration: ${why}`, { cause });
  }
}

/**
 * Writes the record; it is there as it was or as it shall be, never in part. What another command has noted meanwhile is kept.
 *
 * @returns What was written
 */
export async function writeRecord(file: string, record: MigrationRecord): Promise<MigrationRecord> {
  const noted = await readRecord(file, record.trustDomain);
  const merged: MigrationRecord = {
    ...record,
    given: [...new Set([...noted.given, ...record.given])].sort(),
    taken: [...new Set([...noted.taken, ...record.taken])].sort(),
    spireSvidsEndAt: Math.max(noted.spireSvidsEndAt, record.spireSvidsEndAt),
    finished: noted.finished || record.finished,
  };
  const scratch = `${file}.${process.pid}.new`;
  await writeFile(scratch, `${JSON.stringify(merged, undefined, 2)}\n`);
  await rename(scratch, file);
  return merged;
}
