import type { Clock } from '../../core/clock.ts';
import type { CallStore } from '../calls/call-store.ts';
import { SqlCallStore } from '../calls/sql-call-store.ts';
import type { ResourceKind } from '../model.ts';
import { CODECS } from './codec.ts';
import { numberIn, textIn } from './database.ts';
import type { Database, ResourceRow } from './database.ts';
import { migrate } from './migrations.ts';
import { FORMER, SELECT_RESOURCE, resourceRow } from './resource-rows.ts';
import type { Change, ChangeOf, Mutation, ReadOptions, Store } from './store.ts';
import { Transaction } from './transaction.ts';

const BATCH_ROWS = 2000;

/** The store over either database; the SQL is the same for both. */
export class SqlStore implements Store {
  readonly feedId: string;
  readonly calls: CallStore;
  readonly #database: Database;
  readonly #clock: Clock;

  private constructor(feedId: string, database: Database, clock: Clock) {
    this.feedId = feedId;
    this.#database = database;
    this.#clock = clock;
    this.calls = new SqlCallStore(database);
  }

  /** Brings the schema up to date. @throws IdentityError `unavailable`, `failed_precondition` (a newer release's schema) */
  static async open(database: Database, clock: Clock): Promise<SqlStore> {
    await migrate(database);
    const [row] = await database.read('SELECT feed_id FROM feed');
    return new SqlStore(textIn(row, 'feed_id'), database, clock);
  }

  mutate<T>(work: (tx: Mutation) => Promise<T>): Promise<{ readonly value: T; readonly revision: number }> {
    return this.#database.write(async (feedTransaction) => {
      const transaction = new Transaction(feedTransaction, this.#clock.nowMs());
      return transaction.finish(await work(transaction));
    });
  }

  async headRevision(): Promise<number> {
    const [row] = await this.#database.read('SELECT head_revision FROM feed');
    return numberIn(row, 'head_revision');
  }

  async prunedRevision(): Promise<number> {
    const [row] = await this.#database.read('SELECT pruned_revision FROM feed');
    return numberIn(row, 'pruned_revision');
  }

  async *readSince(revision: number, options: ReadOptions = {}): AsyncGenerator<readonly Change[]> {
    const deleted = options.deleted === true || revision > 0 ? '' : 'AND deleted_at_ms IS NULL';
    const where = `WHERE (revision, position) > ($1, $2) ${deleted} ORDER BY revision, position LIMIT ${BATCH_ROWS}`;
    let after = { revision, position: Number.MAX_SAFE_INTEGER };
    for (;;) {
      options.signal?.throwIfAborted();
      const rows = await this.#database.read(`${SELECT_RESOURCE} ${where}`, [after.revision, after.position]);
      const resources = rows.map(resourceRow);
      if (resources.length > 0) yield resources.map(changeOf);
      const last = resources.at(-1);
      if (last === undefined || resources.length < BATCH_ROWS) return;
      after = last;
    }
  }

  follow(onHead: (revision: number) => void, signal: AbortSignal, onOutage?: (error: Error | undefined) => void): Promise<void> {
    return this.#database.follow(onHead, signal, onOutage);
  }

  async prune({ keepMs, keepRevisions }: { readonly keepMs: number; readonly keepRevisions: number }): Promise<void> {
    const nowMs = this.#clock.nowMs();
    await this.#database.write(async ({ sql, revision, nextPosition }) => {
      const old = [revision - 1 - keepRevisions, nowMs - keepMs];
      // Authorities stay: the own bundle's sequence number is the revision of their last change and must never go back.
      const forgettable = "deleted_at_ms IS NOT NULL AND kind <> 'authority' AND revision <= $1";
      const where = `WHERE ${forgettable} AND deleted_at_ms <= $2`;
      const [row] = await sql.query(`SELECT COALESCE(MAX(revision), 0) AS revision FROM resource ${where}`, old);
      const pruned = numberIn(row, 'revision');
      // All up to that one, so that `pruned_revision` says exactly what is forgotten, also after the clock was set back.
      await sql.query(`DELETE FROM resource WHERE ${forgettable}`, [pruned]);
      await sql.query('UPDATE feed SET pruned_revision = $1 WHERE pruned_revision < $1', [pruned]);
      const nowSeconds = Math.floor(nowMs / 1000);
      const tokens = await sql.query('DELETE FROM join_token WHERE expires_at_seconds <= $1 RETURNING sha256', [nowSeconds]);
      return { value: undefined, commit: pruned > 0 || tokens.length > 0 ? { nextPosition } : undefined };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }
}

function changeOf(row: ResourceRow): Change {
  const superseded = row.kind.startsWith(FORMER);
  // The casts are sound: rows are written with these kinds only, and each kind is decoded by its own codec.
  const kind = (superseded ? row.kind.slice(FORMER.length) : row.kind) as ResourceKind;
  const name = superseded ? row.name.slice(0, row.name.lastIndexOf('@')) : row.name;
  const value = CODECS[kind].decode(name, row.value);
  const exists = row.deletedAtMs === null;
  const state = { value: exists ? value : undefined, former: exists ? undefined : value, superseded };
  return { kind, name, revision: row.revision, position: row.position, ...state } as ChangeOf<typeof kind> as Change;
}
