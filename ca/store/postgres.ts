import { Client, Pool, TypeOverrides, types } from 'pg';
import type { ClientConfig, PoolClient, QueryResult } from 'pg';
import type { Clock } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { RESOURCE_COLUMNS, TAKE_REVISION, numberIn } from './database.ts';
import type { Database, FeedOutcome, FeedTransaction, ResourceRow, Sql, SqlRow, SqlValue } from './database.ts';
import { FEED_CHANNEL, followPostgres } from './postgres-follow.ts';
import { SerialQueue } from './serial-queue.ts';
import { postgresError, unavailable } from './store-errors.ts';

const CONNECT_TIMEOUT_MS = 3000;
const STATEMENT_TIMEOUT_MS = 8000;
const DOWN_MS = 500;
// Any constant that nobody else uses in this database.
const MIGRATION_LOCK = 0x636f_7572;

const COLUMN_TYPES: Readonly<Record<(typeof RESOURCE_COLUMNS)[number], string>> = {
  kind: 'text',
  name: 'text',
  revision: 'bigint',
  position: 'bigint',
  similar_key: 'text',
  deleted_at_ms: 'bigint',
  value: 'text',
};

// One statement and one round trip for any number of rows: each parameter is a whole column.
const PUT_RESOURCES = `INSERT INTO resource (${RESOURCE_COLUMNS.join(', ')})
  SELECT * FROM unnest(${RESOURCE_COLUMNS.map((column, index) => `$${index + 1}::${COLUMN_TYPES[column]}[]`).join(', ')})
  ON CONFLICT (kind, name) DO UPDATE SET ${RESOURCE_COLUMNS.slice(2)
    .map((column) => `${column} = excluded.${column}`)
    .join(', ')}`;

/** How to reach PostgreSQL. */
export interface PostgresOptions {
  /** Such as `postgres://user:password@host:5432/database?sslmode=verify-full`. */
  readonly url: string;
  readonly clock: Clock;
  /** Told when the listening connection was lost (with the reason) and when it is back (without). */
  readonly onOutage?: (error: Error | undefined) => void;
}

/** PostgreSQL, shared by any number of replicas. Each replica keeps one connection that listens and at most three others. */
export class PostgresDatabase implements Database {
  readonly #options: PostgresOptions;
  readonly #pool: Pool;
  // The feed's lock lets one writer in at a time anyway: waiting here costs no connection.
  readonly #writers = new SerialQueue();
  // One connection for these, so that the writers of the feed and the readers have the others.
  readonly #writersApart = new SerialQueue();
  #closed = false;
  #down: { readonly error: unknown; readonly untilMs: number } | undefined;

  constructor(options: PostgresOptions) {
    this.#options = options;
    checkUrl(options.url);
    this.#pool = new Pool({ ...connectionOptions(options.url), max: 3, idleTimeoutMillis: 60_000 });
    // Without listeners a connection that is lost between two queries would end the process; the next query tells of it.
    this.#pool.on('error', () => {});
    this.#pool.on('connect', (client) => client.on('error', () => {}));
  }

  write<T>(work: (transaction: FeedTransaction) => Promise<FeedOutcome<T>>): Promise<T> {
    return this.#writers.run(() =>
      this.#transaction(`BEGIN; ${TAKE_REVISION}`, async (sql, row) => {
        const revision = numberIn(row, 'head_revision');
        const { value, commit } = await work({ sql, revision, nextPosition: numberIn(row, 'next_position') });
        if (commit === undefined) return { value, end: 'ROLLBACK' };
        const end = `UPDATE feed SET next_position = ${commit.nextPosition}; SELECT pg_notify('${FEED_CHANNEL}', '${revision}'); COMMIT`;
        return { value, end };
      }),
    );
  }

  async read(text: string, parameters: readonly SqlValue[] = []): Promise<readonly SqlRow[]> {
    const client = await this.#connect();
    try {
      const rows = rowsOf(await asking(client.query(text, [...parameters])));
      client.release();
      return rows;
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  writeApart<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return this.#writersApart.run(() => this.#transaction('BEGIN', async (sql) => ({ value: await work(sql), end: 'COMMIT' })));
  }

  migrate(work: (sql: Sql) => Promise<void>): Promise<void> {
    // READ COMMITTED: after the wait for the lock, each statement sees what the other replica did.
    return this.#transaction(`BEGIN; SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`, async (sql) => {
      await work(sql);
      return { value: undefined, end: 'COMMIT' };
    });
  }

  follow(
    onHead: (revision: number) => void,
    signal: AbortSignal,
    onOutage: (error: Error | undefined) => void = () => {},
  ): Promise<void> {
    const { url, clock, onOutage: onAnyOutage = () => {} } = this.#options;
    const tellBoth = (error: Error | undefined): void => [onAnyOutage, onOutage].forEach((tell) => tell(error));
    return followPostgres({ connection: connectionOptions(url), clock, onHead, onOutage: tellBoth, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([this.#writers.idle(), this.#writersApart.idle()]);
    await this.#pool.end();
  }

  async #transaction<T>(
    begin: string,
    work: (sql: Sql, row: SqlRow | undefined) => Promise<{ value: T; end: string }>,
  ): Promise<T> {
    const client = await this.#connect();
    try {
      const [row] = rowsOf(await asking(client.query(begin)));
      const { value, end } = await work(sqlOn(client), row);
      await asking(client.query(end));
      client.release();
      return value;
    } catch (error) {
      // A server that does not answer would not answer a ROLLBACK either; it rolls back when the connection ends.
      if (isIdentityError(error, 'unavailable')) client.release(true);
      else await rollBack(client);
      throw error;
    }
  }

  /** A connection; after a failure to get one, a while without trying: those who queue must not wait for it one by one. */
  async #connect(): Promise<PoolClient> {
    if (this.#closed) throw unavailable('the CA is stopping', undefined);
    const { clock } = this.#options;
    if (this.#down !== undefined && clock.monotonicMs() < this.#down.untilMs) throw this.#down.error;
    try {
      const client = await asking(this.#pool.connect());
      this.#down = undefined;
      return client;
    } catch (error) {
      this.#down = { error, untilMs: clock.monotonicMs() + DOWN_MS };
      throw error;
    }
  }
}

/** Waits for the database's answer; what it refuses with is translated, what the caller's own work throws is not. */
async function asking<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw postgresError(error);
  }
}

/** pg would say what is wrong with the URL only at the first connection, and with the whole URL, password included, in the error. */
function checkUrl(url: string): void {
  try {
    if (/^postgres(ql)?:/.test(url)) return void new Client(connectionOptions(url));
  } catch {
    // Said below.
  }
  throw new IdentityError('invalid_argument', 'not a URL such as postgres://user:password@host:5432/database', {
    field: 'store',
  });
}

/** Options of every connection: time limits on all that could hang, and bigint as number. */
function connectionOptions(url: string): ClientConfig {
  return {
    connectionString: url,
    application_name: 'countersign',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1000,
    lock_timeout: 5000,
    // A replica that hangs inside a transaction must not stop the others for long.
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
    types: PARSERS,
  };
}

// Revisions and times are bigint in SQL and safe integers here; pg would give text.
const PARSERS = new TypeOverrides();
PARSERS.setTypeParser(types.builtins.INT8, Number);

function sqlOn(client: PoolClient): Sql {
  return {
    query: async (text, parameters = []) => rowsOf(await asking(client.query(text, [...parameters]))),
    putResources: async (rows) => {
      if (rows.length > 0) await asking(client.query({ name: 'put', text: PUT_RESOURCES, values: columnsOf(rows) }));
    },
    list: (parameter) => `(SELECT json_array_elements_text(${parameter}::json))`,
  };
}

function columnsOf(rows: readonly ResourceRow[]): unknown[] {
  return [
    rows.map((row) => row.kind),
    rows.map((row) => row.name),
    rows.map((row) => row.revision),
    rows.map((row) => row.position),
    rows.map((row) => row.similarKey),
    rows.map((row) => row.deletedAtMs),
    rows.map((row) => row.value),
  ];
}

/** The rows of the last statement: a query of several statements answers a list of results, which pg's types leave out. */
function rowsOf(result: QueryResult | readonly QueryResult[]): readonly SqlRow[] {
  // The cast is sound: every column of ours is a text or a bigint, which the type parser makes a number.
  return ([result].flat().at(-1)?.rows ?? []) as SqlRow[];
}

/** Ends a failed transaction; a connection that cannot even do that is thrown away. */
async function rollBack(client: PoolClient): Promise<void> {
  try {
    await client.query('ROLLBACK');
    client.release();
  } catch (error) {
    client.release(error instanceof Error ? error : true);
  }
}
