import { IdentityError } from '../../core/errors.ts';

const SQLITE_REASONS: Readonly<Record<number, string>> = {
  5: 'another process has the database open; only one CA may use a SQLite store at a time: stop the other, or use PostgreSQL',
  6: 'the database is locked; try again',
  8: 'the database is read-only; give the CA write permission to the file and its folder',
  10: 'reading or writing the disk failed; look at the disk and the system log',
  11: 'the database file is damaged; restore it from a backup',
  13: 'the disk is full; free some space',
  14: 'the database file cannot be opened; create its folder and give the CA read and write permission to it',
  26: 'the file is not a database; move it away or name another one',
};

// Classes and codes of SQLSTATE (PostgreSQL manual, appendix A) that speak of the server and not of the statement.
const POSTGRES_REASONS: readonly (readonly [prefix: string, reason: string])[] = [
  ['08', 'the connection to PostgreSQL failed; check that the server runs and can be reached'],
  ['28', 'PostgreSQL refused the user or the password; check the URL of the store'],
  ['3D', 'the database does not exist; create it or correct the URL of the store'],
  ['42501', "the user may not change the schema or the data; grant it the database's ownership"],
  ['25006', 'the server is read-only (a standby); name the primary in the URL of the store'],
  ['53100', "PostgreSQL's disk is full; free some space"],
  ['53300', 'PostgreSQL has no connection left; raise max_connections or stop other clients'],
  ['53', 'PostgreSQL is short of resources; look at its log'],
  ['55P03', 'another CA holds the feed too long; look for one that hangs'],
  ['57014', 'PostgreSQL took too long to answer; look at its load'],
  ['57P', 'PostgreSQL is starting or stopping; it will be tried again'],
  ['58', 'PostgreSQL cannot read or write its disk; look at its log'],
  ['25P03', 'the transaction was ended because it was idle too long'],
  ['XX', 'PostgreSQL reports an internal failure; look at its log'],
];

/** A store's failure that is nobody's fault but the store's, with what to do about it. */
export function unavailable(reason: string, cause: unknown): IdentityError {
  return new IdentityError('unavailable', `store unavailable: ${reason}`, { cause, retryAfterMs: 1000 });
}

const FILE_REASONS: Readonly<Record<string, number>> = {
  EACCES: 14,
  EPERM: 14,
  ENOENT: 14,
  ENOTDIR: 14,
  EISDIR: 14,
  EROFS: 8,
  ENOSPC: 13,
  EIO: 10,
};

/** What `node:sqlite` threw, as `unavailable` when it is of the file or the disk, else unchanged: then it is a defect. */
export function sqliteError(error: unknown): unknown {
  const reason = SQLITE_REASONS[sqliteCode(error)];
  return reason === undefined ? error : unavailable(reason, error);
}

function sqliteCode(error: unknown): number {
  if (!(error instanceof Error)) return 0;
  // The low byte is the primary result code, the rest says where.
  if ('errcode' in error && typeof error.errcode === 'number') return error.errcode & 0xff;
  return 'code' in error && typeof error.code === 'string' ? (FILE_REASONS[error.code] ?? 0) : 0;
}

/** What `pg` threw, as `unavailable` when it is of the server or the connection, else unchanged: then it is a defect. */
export function postgresError(error: unknown): unknown {
  if (error instanceof IdentityError || !(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const known = POSTGRES_REASONS.find(([prefix]) => code?.startsWith(prefix));
  if (known !== undefined) return unavailable(known[1], error);
  // Any other SQLSTATE is about the statement. Without one it is a socket's error, or the driver's own of a lost connection.
  if (code !== undefined && /^[0-9A-Z]{5}$/.test(code)) return error;
  return unavailable('the connection to PostgreSQL failed; check that the server runs and can be reached', error);
}
