/** A value that SQL takes and gives. Whole numbers are safe integers. */
export type SqlValue = string | number | null;

/** A row by column name. */
export type SqlRow = Readonly<Record<string, SqlValue>>;

/** Runs SQL. Parameters are `$1`, `$2`, …; `IN ${list('$1')}` takes a JSON array of texts. */
export interface Sql {
  query(text: string, parameters?: readonly SqlValue[]): Promise<readonly SqlRow[]>;
  /** Inserts rows of `resource`, or replaces those of the same kind and name. */
  putResources(rows: readonly ResourceRow[]): Promise<void>;
  /** The SQL of a list of texts in one JSON parameter, for `IN`. */
  list(parameter: string): string;
}

/** A row of the table `resource`. */
export interface ResourceRow {
  readonly kind: string;
  readonly name: string;
  readonly revision: number;
  /** Unique among all rows; order of creation. */
  readonly position: number;
  /** For finding similar resources; null: none. Also null when deleted. */
  readonly similarKey: string | null;
  /** Milliseconds since 1970; null: it exists. */
  readonly deletedAtMs: number | null;
  /** JSON; of a deleted resource what it was last. */
  readonly value: string;
}

/** The columns of {@link ResourceRow} in SQL, in order. */
export const RESOURCE_COLUMNS = ['kind', 'name', 'revision', 'position', 'similar_key', 'deleted_at_ms', 'value'] as const;

/** A write transaction: it holds the lock of the feed, so no other replica writes until it ends. */
export interface FeedTransaction {
  readonly sql: Sql;
  /** The revision of what it writes. */
  readonly revision: number;
  /** The first position that is free. */
  readonly nextPosition: number;
}

/** What a write transaction came to. */
export interface FeedOutcome<T> {
  readonly value: T;
  /** Undefined: nothing was written, roll back. */
  readonly commit: { readonly nextPosition: number } | undefined;
}

/** What differs between the databases: connections, transactions, and how a commit is told to all replicas. */
export interface Database extends AsyncDisposable {
  /**
   * Runs a write transaction that begins by taking the feed's next revision: its row lock makes commit order the order of
   * revisions. When `work` throws, nothing remains.
   *
   * @throws IdentityError `unavailable`; what `work` throws
   */
  write<T>(work: (transaction: FeedTransaction) => Promise<FeedOutcome<T>>): Promise<T>;
  /**
   * Runs a write transaction over tables that are not part of the feed: neither readers of the feed nor, where the database allows it, its
   * writers wait for it. When `work` throws, nothing remains.
   *
   * @throws IdentityError `unavailable`; what `work` throws
   */
  writeApart<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** Runs one query outside of a transaction. @throws IdentityError `unavailable` */
  read(text: string, parameters?: readonly SqlValue[]): Promise<readonly SqlRow[]>;
  /** Runs schema changes in one transaction that excludes every other replica's. @throws IdentityError `unavailable` */
  migrate(work: (sql: Sql) => Promise<void>): Promise<void>;
  /** Calls `onHead` with the present head revision and after each commit of any replica, until the signal aborts. */
  follow(onHead: (revision: number) => void, signal: AbortSignal, onOutage?: (error: Error | undefined) => void): Promise<void>;
}

/** Takes the next revision; every write transaction's first statement. */
export const TAKE_REVISION = 'UPDATE feed SET head_revision = head_revision + 1 RETURNING head_revision, next_position';

/** A column that is known to hold a number. @throws Error when the database answers something else: a defect */
export function numberIn(row: SqlRow | undefined, column: string): number {
  const value = row?.[column];
  if (typeof value !== 'number') throw new Error(`column ${column} holds no number`);
  return value;
}

/** A column that is known to hold text. @throws Error when the database answers something else: a defect */
export function textIn(row: SqlRow | undefined, column: string): string {
  const value = row?.[column];
  if (typeof value !== 'string') throw new Error(`column ${column} holds no text`);
  return value;
}
