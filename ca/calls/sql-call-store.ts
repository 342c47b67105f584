import { numberIn, textIn } from '../store/database.ts';
import type { Database, Sql, SqlRow } from '../store/database.ts';
import { CallAddition } from './call-addition.ts';
import { kindOfText } from './call-kind.ts';
import type { CountedKind } from './call-kind.ts';
import type { AddedCalls, CallBatch, CallFilter, CallHorizon, CallStore, PolicyHits } from './call-store.ts';
import { KindLimit } from './kind-limit.ts';
import { HIT_SLOT_MS, HOUR_MS } from './slots.ts';

/** Most kinds of calls to one destination in one hour that are told apart. */
export const MOST_KINDS = 1000;
// Of a week each kind has up to 168 rows: a part of the list is to hold the event loop for milliseconds only.
const KINDS_PER_PART = 50;
const ROWS_PER_DELETE = 500;

/** Recorded calls in either database. */
export class SqlCallStore implements CallStore {
  readonly #database: Database;
  readonly #limit: KindLimit;

  constructor(database: Database, { mostKinds = MOST_KINDS }: { readonly mostKinds?: number } = {}) {
    this.#database = database;
    this.#limit = new KindLimit(mostKinds);
  }

  async add(batches: readonly CallBatch[], nowMs: number): Promise<AddedCalls> {
    const { added, written } = await this.#database.writeApart(async (sql) => {
      const addition = new CallAddition(sql, this.#limit);
      return { added: await addition.add(batches, nowMs), written: addition.written };
    });
    // Only now: of a transaction that failed nothing is there.
    for (const { place, id } of written) this.#limit.note(place, [id]);
    this.#limit.trim();
    return added;
  }

  async *list({ sinceMs, destinationNamespace = '' }: CallFilter): AsyncGenerator<readonly CountedKind[]> {
    const sinceHour = Math.floor(sinceMs / HOUR_MS);
    let after = '';
    for (;;) {
      const rows = await this.#database.read(LIST, [after, sinceHour, destinationNamespace]);
      const kinds = rows.map(countedKind).filter(({ lastSeenAtMs }) => lastSeenAtMs >= sinceMs);
      if (kinds.length > 0) yield kinds;
      if (rows.length < KINDS_PER_PART) return;
      after = textIn(rows.at(-1), 'kind_id');
      // SQLite answers at once: without this, all parts were read in one turn of the event loop.
      await new Promise((resolve) => void setImmediate(resolve));
    }
  }

  async hits(sinceMs: number): Promise<ReadonlyMap<string, PolicyHits>> {
    const rows = await this.#database.read(HITS, [Math.floor(sinceMs / HIT_SLOT_MS)]);
    return new Map(
      rows.map((row) => [
        textIn(row, 'policy'),
        { hits: numberIn(row, 'hits'), wouldDenyHits: numberIn(row, 'would_deny_hits') },
      ]),
    );
  }

  async prune({ callsMs, batchesMs, hitsMs }: CallHorizon): Promise<void> {
    const hour = Math.floor(callsMs / HOUR_MS);
    // What is remembered may be among it.
    this.#limit.clear();
    await this.#forget({ table: 'recorded_count', key: '(kind_id, hour)', columns: 'kind_id, hour', age: 'hour' }, hour);
    await this.#forget({ table: 'recorded_kind', key: 'kind_id', columns: 'kind_id', age: 'last_hour' }, hour);
    await this.#forget({ table: 'recorded_batch', key: 'batch_id', columns: 'batch_id', age: 'received_ms' }, batchesMs);
    const slot = Math.floor(hitsMs / HIT_SLOT_MS);
    await this.#forget({ table: 'policy_hit', key: '(slot, policy)', columns: 'slot, policy', age: 'slot' }, slot);
  }

  async #forget({ table, key, columns, age }: Aged, before: number): Promise<void> {
    const some = `SELECT ${columns} FROM ${table} WHERE ${age} < $1 LIMIT ${ROWS_PER_DELETE}`;
    const text = `DELETE FROM ${table} WHERE ${key} IN (${some}) RETURNING ${age}`;
    let deleted = ROWS_PER_DELETE;
    while (deleted === ROWS_PER_DELETE) {
      deleted = await this.#database.writeApart(async (sql: Sql) => (await sql.query(text, [before])).length);
    }
  }
}

/** A table and the column that says how old a row is. */
interface Aged {
  readonly table: string;
  readonly key: string;
  readonly columns: string;
  readonly age: string;
}

const LIST = `SELECT kind.kind_id, kind.value, kind.source_namespace, kind.source_account,
    CAST(SUM(counted.calls) AS BIGINT) AS calls, MAX(counted.last_seen_ms) AS last_seen_ms
  FROM recorded_kind kind JOIN recorded_count counted ON counted.kind_id = kind.kind_id
  WHERE kind.kind_id > $1 AND counted.hour >= $2 AND ($3 = '' OR kind.destination_namespace = $3)
  GROUP BY kind.kind_id ORDER BY kind.kind_id LIMIT ${KINDS_PER_PART}`;

const HITS = `SELECT policy, CAST(SUM(hits) AS BIGINT) AS hits, CAST(SUM(would_deny_hits) AS BIGINT) AS would_deny_hits
  FROM policy_hit WHERE slot >= $1 GROUP BY policy`;

function countedKind(row: SqlRow): CountedKind {
  const [namespace, serviceAccount] = [textIn(row, 'source_namespace'), textIn(row, 'source_account')];
  return {
    kind: kindOfText(textIn(row, 'value')),
    source: { ...(namespace === '' ? {} : { namespace }), ...(serviceAccount === '' ? {} : { serviceAccount }) },
    count: numberIn(row, 'calls'),
    lastSeenAtMs: numberIn(row, 'last_seen_ms'),
  };
}
