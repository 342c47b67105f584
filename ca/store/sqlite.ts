import { closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { StatementSync } from 'node:sqlite';
import { RESOURCE_COLUMNS, TAKE_REVISION, numberIn } from './database.ts';
import type { Database, FeedOutcome, FeedTransaction, ResourceRow, Sql, SqlRow, SqlValue } from './database.ts';
import { SerialQueue } from './serial-queue.ts';
import { sqliteError, unavailable } from './store-errors.ts';

/** How long to wait for a process that still has the file open, such as one that is just stopping. */
const LOCK_WAIT_MS = 5000;

const PUT_RESOURCE = `INSERT INTO resource (${RESOURCE_COLUMNS.join(', ')})
  VALUES (${RESOURCE_COLUMNS.map((_, index) => `?${index + 1}`).join(', ')})
  ON CONFLICT (kind, name) DO UPDATE SET ${RESOURCE_COLUMNS.slice(2)
    .map((column) => `${column} = excluded.${column}`)
    .join(', ')}`;

/**
 * The embedded database: one file, one process. The lock is exclusive, because another process's writes would go unnoticed;
 * write-ahead log with a full sync, so that what was acknowledged survives a power cut.
 */
export class SqliteDatabase implements Database {
  readonly #connection: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #queue = new SerialQueue();
  readonly #followers = new Set<(revision: number) => void>();
  readonly #sql: Sql;
  #closed = false;

  /** @throws IdentityError `unavailable` when the file cannot be opened or another process has it open */
  constructor(path: string) {
    this.#connection = guarded(() => openConnection(path));
    this.#sql = {
      query: async (text, parameters = []) => {
        // After a failure such as a full disk the transaction is over: what follows would be committed one by one.
        if (!this.#connection.isTransaction) throw unavailable('the transaction was ended by an earlier failure', undefined);
        return this.#query(text, parameters);
      },
      putResources: async (rows) => this.#putResources(rows),
      list: (parameter) => `(SELECT value FROM json_each(${parameter}))`,
    };
  }

  write<T>(work: (transaction: FeedTransaction) => Promise<FeedOutcome<T>>): Promise<T> {
    return this.#exclusively(async () => {
      const [row] = this.#query(TAKE_REVISION, []);
      const revision = numberIn(row, 'head_revision');
      const outcome = await work({ sql: this.#sql, revision, nextPosition: numberIn(row, 'next_position') });
      if (outcome.commit === undefined) return { value: outcome.value, commit: false };
      this.#query('UPDATE feed SET next_position = $1', [outcome.commit.nextPosition]);
      return { value: outcome.value, commit: true, committed: () => this.#tell(revision) };
    });
  }

  async read(text: string, parameters: readonly SqlValue[] = []): Promise<readonly SqlRow[]> {
    // One connection serves all: a read between the statements of a write would see what is not committed.
    return this.#queue.run(async () => this.#query(text, parameters));
  }

  writeApart<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return this.#exclusively(async () => ({ value: await work(this.#sql), commit: true }));
  }

  migrate(work: (sql: Sql) => Promise<void>): Promise<void> {
    return this.#exclusively(async () => ({ value: await work(this.#sql), commit: true }));
  }

  async follow(onHead: (revision: number) => void, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const [row] = await this.read('SELECT head_revision FROM feed');
    this.#followers.add(onHead);
    onHead(numberIn(row, 'head_revision'));
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    this.#followers.delete(onHead);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#queue.idle();
    this.#connection.close();
  }

  #exclusively<T>(work: () => Promise<{ value: T; commit: boolean; committed?: () => void }>): Promise<T> {
    return this.#queue.run(async () => {
      try {
        this.#run('BEGIN IMMEDIATE');
        const { value, commit, committed } = await work();
        this.#run(commit ? 'COMMIT' : 'ROLLBACK');
        committed?.();
        return value;
      } catch (error) {
        // A full disk ends the transaction by itself; then there is nothing to roll back.
        if (!this.#closed && this.#connection.isTransaction) this.#run('ROLLBACK');
        throw error;
      }
    });
  }

  #tell(revision: number): void {
    for (const onHead of this.#followers) onHead(revision);
  }

  #putResources(rows: readonly ResourceRow[]): void {
    guarded(() => {
      const statement = this.#prepare(PUT_RESOURCE);
      for (const row of rows) {
        statement.run(row.kind, row.name, row.revision, row.position, row.similarKey, row.deletedAtMs, row.value);
      }
    });
  }

  #query(text: string, parameters: readonly SqlValue[]): readonly SqlRow[] {
    const sqliteText = text.replaceAll(/\$(\d+)/g, '?$1');
    // The cast is sound: no column of ours is a blob, and no whole number exceeds 2^53.
    return guarded(() => this.#prepare(sqliteText).all(...parameters)) as SqlRow[];
  }

  #run(text: string): void {
    guarded(() => this.#prepare(text).run());
  }

  #prepare(text: string): StatementSync {
    if (this.#closed) throw unavailable('the CA is stopping', undefined);
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = this.#connection.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }
}

function openConnection(path: string): DatabaseSync {
  // SQLite would make the file readable for all; its log takes over the mode of the file.
  if (path !== ':memory:') closeSync(openSync(path, 'a', 0o600));
  const connection = new DatabaseSync(path, { timeout: LOCK_WAIT_MS });
  try {
    // In this order: an exclusive lock taken before the log is first used needs no shared memory file.
    connection.exec('PRAGMA locking_mode = EXCLUSIVE');
    connection.exec('PRAGMA journal_mode = WAL');
    connection.exec('PRAGMA synchronous = FULL');
    // Batches of entries touch many pages; copying them back from the log less often costs fewer syncs (16 MiB of log).
    connection.exec('PRAGMA wal_autocheckpoint = 4000');
    connection.exec('BEGIN IMMEDIATE; COMMIT');
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Does something with the database; what it refuses with is translated, what the caller's own work throws is not. */
function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw sqliteError(error);
  }
}
