import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { relationKey } from '../compile/relations.ts';
import type { RelationQuery } from '../model.ts';
import type { RelationSource } from './source.ts';

/** How long and how many answers are kept. */
export interface RelationCacheOptions {
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly maxEntries: number;
}

interface Entry {
  readonly answer: boolean;
  readonly expiresAtMs: number;
}

/** Keeps answers of a relation store for a while, the least recently asked given up first. Failures are not kept. */
export class CachedRelations implements RelationSource {
  readonly #source: RelationSource;
  readonly #options: RelationCacheOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(source: RelationSource, options: RelationCacheOptions) {
    this.#source = source;
    this.#options = options;
  }

  async check(queries: readonly RelationQuery[]): Promise<readonly boolean[]> {
    const known = queries.map((query) => this.#get(relationKey(query)));
    const missing = queries.filter((_query, index) => known[index] === undefined);
    const answers = missing.length === 0 ? [] : await this.#source.check(missing);
    // What is not answered must not be kept as a no: to a DENY rule that would be the answer that opens.
    if (answers.length !== missing.length) throw new IdentityError('internal', 'the relation store left questions unanswered');
    for (const [index, query] of missing.entries()) this.#put(relationKey(query), answers[index] ?? false);
    let next = 0;
    return known.map((each) => each ?? answers[next++] ?? false);
  }

  #get(key: string): boolean | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (entry.expiresAtMs <= this.#options.clock.monotonicMs()) return undefined;
    this.#entries.set(key, entry);
    return entry.answer;
  }

  #put(key: string, answer: boolean): void {
    const { clock, ttlMs, maxEntries } = this.#options;
    this.#entries.delete(key);
    this.#entries.set(key, { answer, expiresAtMs: clock.monotonicMs() + ttlMs });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= maxEntries) return;
      this.#entries.delete(oldest);
    }
  }
}
