import { createHash } from 'node:crypto';
import { policyKey } from '../../policy/policy.ts';
import { textIn } from '../store/database.ts';
import type { Sql, SqlValue } from '../store/database.ts';
import { folded, kindId, kindText } from './call-kind.ts';
import type { CallKind, SeenCalls } from './call-kind.ts';
import type { AddedCalls, CallBatch } from './call-store.ts';
import type { KindLimit } from './kind-limit.ts';
import { HIT_SLOT_MS, HOUR_MS } from './slots.ts';

/** A kind within an hour and destination that was written. */
export interface WrittenKind {
  readonly place: string;
  readonly id: string;
}

interface NamedKind extends WrittenKind {
  readonly hour: number;
  readonly text: string;
  readonly kind: CallKind;
  readonly source: SeenCalls['source'];
}

interface Counted extends NamedKind {
  calls: number;
  lastSeenMs: number;
}

function named(parts: Omit<NamedKind, 'id' | 'text'>): NamedKind {
  const text = kindText(parts.kind);
  return { ...parts, text, id: kindId(text) };
}

/** Where kinds are limited: one destination in one hour. */
export function placeOf(hour: number, destination: string): string {
  return `${hour} ${destination}`;
}

/** One transaction that counts calls. Rows are written in order of their keys: so two replicas never wait for each other. */
export class CallAddition {
  readonly #sql: Sql;
  readonly #limit: KindLimit;
  readonly #counted = new Map<string, Counted>();
  readonly #hits = new Map<string, { readonly slot: number; readonly policy: string; hits: number; wouldDeny: number }>();
  /** Kinds that this transaction adds, by place. */
  readonly #added = new Map<string, number>();
  #folded = 0;

  constructor(sql: Sql, limit: KindLimit) {
    this.#sql = sql;
    this.#limit = limit;
  }

  /** What is in the store once the transaction is committed. */
  get written(): readonly WrittenKind[] {
    return [...this.#counted.values()];
  }

  async add(batches: readonly CallBatch[], nowMs: number): Promise<AddedCalls> {
    const fresh = await this.#fresh(batches, nowMs);
    const calls = fresh.flatMap((batch) => batch.calls);
    await this.#readKnown(calls);
    for (const each of calls) this.#count(each);
    await this.#writeKinds(nowMs);
    await this.#writeCounts();
    await this.#writeHits();
    const counted = calls.reduce((sum, { count }) => sum + count, 0);
    return { repeated: batches.length - fresh.length, calls: counted, folded: this.#folded };
  }

  async #fresh(batches: readonly CallBatch[], nowMs: number): Promise<readonly CallBatch[]> {
    const byKey = new Map(batches.map((batch) => [batchKey(batch), batch]));
    const rows = [...byKey.keys()].sort().map((key) => [key, nowMs]);
    const inserted = await insert(this.#sql, 'recorded_batch (batch_id, received_ms)', rows, 'DO NOTHING RETURNING batch_id');
    return inserted.flatMap((key) => byKey.get(textIn(key, 'batch_id')) ?? []);
  }

  /** Reads which kinds the destinations have in these hours, where that is not known. */
  async #readKnown(calls: readonly SeenCalls[]): Promise<void> {
    const hours = Map.groupBy(calls, ({ lastSeenAtMs }) => hourOf(lastSeenAtMs));
    for (const [hour, own] of hours) {
      const all = new Set(own.map(({ kind }) => kind.destination.spiffeId));
      const unknown = [...all].filter((destination) => !this.#limit.knows(placeOf(hour, destination)));
      if (unknown.length === 0) continue;
      for (const destination of unknown) this.#limit.note(placeOf(hour, destination), []);
      const text = `SELECT kind.destination, kind.kind_id FROM recorded_kind kind
        JOIN recorded_count counted ON counted.kind_id = kind.kind_id AND counted.hour = $1
        WHERE kind.destination IN ${this.#sql.list('$2')}`;
      for (const row of await this.#sql.query(text, [hour, JSON.stringify(unknown)])) {
        this.#limit.note(placeOf(hour, textIn(row, 'destination')), [textIn(row, 'kind_id')]);
      }
    }
  }

  #count({ kind, count, lastSeenAtMs, source, wouldDenyPolicies }: SeenCalls): void {
    const hour = hourOf(lastSeenAtMs);
    const counted = this.#placeFor({ kind, source, count }, hour);
    counted.calls += count;
    counted.lastSeenMs = Math.max(counted.lastSeenMs, lastSeenAtMs);
    const slot = Math.floor(lastSeenAtMs / HIT_SLOT_MS);
    for (const { policy } of [kind.rule ?? [], kind.auditRules ?? []].flat()) this.#hit(slot, policyKey(policy)).hits += count;
    for (const policy of wouldDenyPolicies) this.#hit(slot, policy).wouldDeny += count;
  }

  #placeFor({ kind, source, count }: Pick<SeenCalls, 'kind' | 'source' | 'count'>, hour: number): Counted {
    const place = placeOf(hour, kind.destination.spiffeId);
    const own = named({ kind, source, hour, place });
    const known = this.#known(own);
    if (known !== undefined) return known;
    const room = this.#limit.room(place) - (this.#added.get(place) ?? 0);
    if (room > 0) return this.#start(own);
    this.#folded += count;
    const other = named({ ...own, kind: folded(kind, room > -this.#limit.most ? 1 : 2) });
    return this.#known(other) ?? this.#start(other);
  }

  #known(parts: NamedKind): Counted | undefined {
    const counted = this.#counted.get(`${parts.hour} ${parts.id}`);
    if (counted !== undefined) return counted;
    return this.#limit.has(parts.place, parts.id) ? this.#note(parts) : undefined;
  }

  #start(parts: NamedKind): Counted {
    this.#added.set(parts.place, (this.#added.get(parts.place) ?? 0) + 1);
    return this.#note(parts);
  }

  #note(parts: NamedKind): Counted {
    const counted = { ...parts, calls: 0, lastSeenMs: 0 };
    this.#counted.set(`${parts.hour} ${parts.id}`, counted);
    return counted;
  }

  #hit(slot: number, policy: string): { hits: number; wouldDeny: number } {
    const key = `${slot} ${policy}`;
    const known = this.#hits.get(key) ?? { slot, policy, hits: 0, wouldDeny: 0 };
    this.#hits.set(key, known);
    return known;
  }

  async #writeKinds(nowMs: number): Promise<void> {
    // A kind that was there in this hour is written; of the others the last hour, and who the caller is, may be new. Old ones may
    // have been pruned by another replica meanwhile.
    const recent = hourOf(nowMs) - 1;
    const fresh = [...this.#counted.values()].filter(({ hour, place, id }) => hour < recent || !this.#limit.has(place, id));
    const byId = new Map<string, Counted>();
    for (const each of fresh) if ((byId.get(each.id)?.hour ?? 0) <= each.hour) byId.set(each.id, each);
    const rows = inOrder([...byId.values()]).map(({ id, hour, kind, source, text }) => [
      id,
      kind.destination.spiffeId,
      kind.destination.namespace,
      source.namespace ?? '',
      source.serviceAccount ?? '',
      hour,
      text,
    ]);
    const into =
      'recorded_kind (kind_id, destination, destination_namespace, source_namespace, source_account, last_hour, value)';
    await insert(this.#sql, into, rows, KIND_AGAIN);
  }

  async #writeCounts(): Promise<void> {
    const rows = inOrder([...this.#counted.values()]).map(({ id, hour, calls, lastSeenMs }) => [id, hour, calls, lastSeenMs]);
    await insert(this.#sql, 'recorded_count (kind_id, hour, calls, last_seen_ms)', rows, COUNT_AGAIN);
  }

  async #writeHits(): Promise<void> {
    const sorted = [...this.#hits].sort(([one], [other]) => (one < other ? -1 : 1));
    const rows = sorted.map(([, { slot, policy, hits, wouldDeny }]) => [slot, policy, hits, wouldDeny]);
    await insert(this.#sql, 'policy_hit (slot, policy, hits, would_deny_hits)', rows, HIT_AGAIN);
  }
}

const larger = (column: string, known: string): string =>
  `${column} = CASE WHEN excluded.${column} > ${known} THEN excluded.${column} ELSE ${known} END`;
const unlessEmpty = (column: string): string =>
  `${column} = CASE WHEN excluded.${column} <> '' THEN excluded.${column} ELSE recorded_kind.${column} END`;

const KIND_AGAIN = `(kind_id) DO UPDATE SET ${larger('last_hour', 'recorded_kind.last_hour')},
  ${unlessEmpty('source_namespace')}, ${unlessEmpty('source_account')}`;
const COUNT_AGAIN = `(kind_id, hour) DO UPDATE SET calls = recorded_count.calls + excluded.calls,
  ${larger('last_seen_ms', 'recorded_count.last_seen_ms')}`;
const HIT_AGAIN = `(slot, policy) DO UPDATE SET hits = policy_hit.hits + excluded.hits,
  would_deny_hits = policy_hit.would_deny_hits + excluded.would_deny_hits`;

// Few different statements: each is prepared once.
const ROWS_AT_ONCE = [64, 8, 1] as const;

/** Inserts any number of rows, a few at a time; others have their turn between. Answers what the statement returns. */
async function insert(
  sql: Sql,
  into: string,
  rows: readonly (readonly SqlValue[])[],
  onConflict: string,
): Promise<Awaited<ReturnType<Sql['query']>>> {
  const returned: Awaited<ReturnType<Sql['query']>>[number][] = [];
  for (let start = 0; start < rows.length;) {
    const count = ROWS_AT_ONCE.find((size) => size <= rows.length - start) ?? 1;
    const some = rows.slice(start, start + count);
    const width = some[0]?.length ?? 0;
    const places = some.map(
      (_, row) => `(${Array.from({ length: width }, (_each, column) => `$${row * width + column + 1}`).join(', ')})`,
    );
    const text = `INSERT INTO ${into} VALUES ${places.join(', ')} ON CONFLICT ${onConflict}`;
    returned.push(...(await sql.query(text, some.flat())));
    start += count;
    await new Promise((resolve) => void setImmediate(resolve));
  }
  return returned;
}

function inOrder(counted: readonly Counted[]): readonly Counted[] {
  return counted.toSorted((one, other) => (one.id === other.id ? one.hour - other.hour : one.id < other.id ? -1 : 1));
}

const hourOf = (atMs: number): number => Math.floor(atMs / HOUR_MS);

function batchKey({ agentId, batchId }: CallBatch): string {
  return createHash('sha256').update(`${agentId} ${batchId}`).digest('base64url').slice(0, 32);
}
