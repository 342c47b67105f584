import type { ResourceKind, Resources } from '../model.ts';
import { CODECS } from './codec.ts';
import { RESOURCE_COLUMNS, numberIn, textIn } from './database.ts';
import type { FeedTransaction, ResourceRow, SqlRow } from './database.ts';

/** The columns of a resource in SQL, for SELECT. */
export const SELECT_RESOURCE = `SELECT ${RESOURCE_COLUMNS.join(', ')} FROM resource`;

/** Prefix of the kind of rows that tell how a resource looked before an update that moved it. */
export const FORMER = 'former-';

/**
 * The resources as one transaction sees and leaves them. Writes are collected and go out in one statement at the end, so that
 * a batch costs few round trips; each row carries the transaction's revision.
 */
export class ResourceRows {
  readonly #transaction: FeedTransaction;
  readonly #nowMs: number;
  /** What was read or written so far; undefined: looked for and not there. */
  readonly #rows = new Map<string, ResourceRow | undefined>();
  readonly #written = new Set<string>();
  #nextPosition: number;

  constructor(transaction: FeedTransaction, nowMs: number) {
    this.#transaction = transaction;
    this.#nowMs = nowMs;
    this.#nextPosition = transaction.nextPosition;
  }

  get revision(): number {
    return this.#transaction.revision;
  }

  async get<K extends ResourceKind>(kind: K, name: string): Promise<Resources[K] | undefined> {
    await this.load(kind, [name]);
    const row = this.#rows.get(keyOf(kind, name));
    return row === undefined || row.deletedAtMs !== null ? undefined : CODECS[kind].decode(name, row.value);
  }

  /** Reads many rows at once, so that later calls of {@link get} need no round trip. */
  async load(kind: string, names: readonly string[]): Promise<void> {
    const unknown = names.filter((name) => !this.#rows.has(keyOf(kind, name)));
    if (unknown.length === 0) return;
    const { sql } = this.#transaction;
    for (const name of unknown) this.#rows.set(keyOf(kind, name), undefined);
    const where = `WHERE kind = $1 AND name IN ${sql.list('$2')}`;
    this.#remember(await sql.query(`${SELECT_RESOURCE} ${where}`, [kind, JSON.stringify(unknown)]));
  }

  /** Names of the existing resources with each of the keys, oldest first. */
  async findSimilar(kind: ResourceKind, keys: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const { sql } = this.#transaction;
    const where = `WHERE kind = $1 AND similar_key IN ${sql.list('$2')}`;
    this.#remember(await sql.query(`${SELECT_RESOURCE} ${where}`, [kind, JSON.stringify(keys)]));
    const wanted = new Set(keys);
    const rows = [...this.#rows.values()]
      .filter((row) => row !== undefined)
      .filter((row) => row.kind === kind && row.deletedAtMs === null && row.similarKey !== null && wanted.has(row.similarKey))
      .sort((a, b) => a.position - b.position);
    const groups = Map.groupBy(rows, (row) => row.similarKey ?? '');
    return new Map([...groups].map(([key, group]) => [key, group.map(({ name }) => name)]));
  }

  /** All existing resources of a kind whose JSON has the text somewhere; scans the kind, for rare operations only. */
  async search<K extends ResourceKind>(kind: K, text: string): Promise<readonly Resources[K][]> {
    const { sql } = this.#transaction;
    const where = `WHERE kind = $1 AND deleted_at_ms IS NULL AND value LIKE $2`;
    this.#remember(await sql.query(`${SELECT_RESOURCE} ${where}`, [kind, `%${text.replaceAll(/[%_\\]/g, '_')}%`]));
    const rows = [...this.#rows.values()].filter((row) => row?.kind === kind && row.deletedAtMs === null);
    return rows.flatMap((row) => (row?.value.includes(text) === true ? [CODECS[kind].decode(row.name, row.value)] : []));
  }

  /** Writes a resource: a new one gets the next position, an existing one keeps its own. Load it before. */
  put<K extends ResourceKind>(kind: K, value: Resources[K], similarKey: string | null = null): void {
    const name = CODECS[kind].name(value);
    const before = this.#rows.get(keyOf(kind, name));
    const exists = before !== undefined && before.deletedAtMs === null;
    this.#write({
      kind,
      name,
      revision: this.revision,
      position: exists ? before.position : this.#nextPosition++,
      similarKey,
      deletedAtMs: null,
      value: JSON.stringify(CODECS[kind].encode(value)),
    });
  }

  /** Deletes an existing resource; what it was stays until it is pruned. Load it before. */
  delete(kind: ResourceKind, name: string): void {
    const before = this.#rows.get(keyOf(kind, name));
    if (before === undefined) return;
    this.#write({ ...before, revision: this.revision, similarKey: null, deletedAtMs: this.#nowMs });
  }

  /**
   * Keeps how a resource was before this transaction: an agent that resumes from before must learn what it has to forget. One
   * that was deleted, and is about to be made anew, keeps the revision of its deletion. Call it before {@link put}.
   */
  keepFormer(kind: ResourceKind, name: string): void {
    const before = this.#rows.get(keyOf(kind, name));
    if (before === undefined) return;
    const { revision, deletedAtMs } =
      before.deletedAtMs === null ? { revision: this.revision, deletedAtMs: this.#nowMs } : before;
    this.#writeFormer(kind, { name, revision, deletedAtMs, value: before.value });
  }

  /** Says how a resource is to be taken to have been before this transaction, unless {@link keepFormer} said. */
  putFormer<K extends ResourceKind>(kind: K, value: Resources[K]): void {
    const row = { name: CODECS[kind].name(value), value: JSON.stringify(CODECS[kind].encode(value)) };
    this.#writeFormer(kind, { ...row, revision: this.revision, deletedAtMs: this.#nowMs });
  }

  /** Writes all that was collected. @returns the next free position, or undefined when nothing was written */
  async flush(): Promise<number | undefined> {
    if (this.#written.size === 0) return undefined;
    const rows = [...this.#written].map((key) => this.#rows.get(key)).filter((row) => row !== undefined);
    await this.#transaction.sql.putResources(rows);
    return this.#nextPosition;
  }

  #writeFormer(kind: ResourceKind, row: Pick<ResourceRow, 'name' | 'revision' | 'deletedAtMs' | 'value'>): void {
    const former = { kind: FORMER + kind, name: `${row.name}@${row.revision}` };
    if (this.#rows.has(keyOf(former.kind, former.name))) return;
    this.#write({ ...row, ...former, position: this.#nextPosition++, similarKey: null });
  }

  #write(row: ResourceRow): void {
    const key = keyOf(row.kind, row.name);
    this.#rows.set(key, row);
    this.#written.add(key);
  }

  #remember(rows: readonly SqlRow[]): void {
    for (const row of rows.map(resourceRow)) {
      const key = keyOf(row.kind, row.name);
      // What this transaction wrote is newer than what the database has.
      if (!this.#written.has(key)) this.#rows.set(key, row);
    }
  }
}

/** A row of {@link SELECT_RESOURCE}. */
export function resourceRow(row: SqlRow): ResourceRow {
  return {
    kind: textIn(row, 'kind'),
    name: textIn(row, 'name'),
    revision: numberIn(row, 'revision'),
    position: numberIn(row, 'position'),
    similarKey: row['similar_key'] === null ? null : textIn(row, 'similar_key'),
    deletedAtMs: row['deleted_at_ms'] === null ? null : numberIn(row, 'deleted_at_ms'),
    value: textIn(row, 'value'),
  };
}

function keyOf(kind: string, name: string): string {
  return `${kind} ${name}`;
}
