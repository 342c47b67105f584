import { randomUUID } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { saysTheSame } from '../entry-metadata.ts';
import { isNodeAlias, normalizeSelectors } from '../model.ts';
import type { Entry, EntryChange, NewEntry } from '../model.ts';
import { similarKey } from './entry-codec.ts';
import type { ResourceRows } from './resource-rows.ts';
import type { CreatedEntry } from './store.ts';

/** The entry operations of a `Mutation`. */
export class EntryMutations {
  readonly #rows: ResourceRows;
  readonly #nowSeconds: number;

  constructor(rows: ResourceRows, nowSeconds: number) {
    this.#rows = rows;
    this.#nowSeconds = nowSeconds;
  }

  async create(entry: NewEntry): Promise<CreatedEntry> {
    const [result] = await this.createAll([entry]);
    if (result === undefined || result instanceof Error) throw result;
    return result;
  }

  async createAll(entries: readonly NewEntry[]): Promise<readonly (CreatedEntry | Error)[]> {
    const normal = entries.map((entry) => ({ ...entry, selectors: normalizeSelectors(entry.selectors) }));
    const keys = normal.map(similarKey);
    const ids = normal.flatMap(({ id }) => (id === undefined || id === '' ? [] : [id]));
    await this.#rows.load('entry', ids);
    await this.#loadBundles(normal.flatMap((entry) => entry.federatesWith));
    const similar = new Map(await this.#rows.findSimilar('entry', keys));
    const results: (CreatedEntry | Error)[] = [];
    for (const [index, entry] of normal.entries()) {
      const key = keys[index] ?? '';
      const result = await this.#createOne(entry, key, similar.get(key)).catch(onlyIdentityError);
      if (!(result instanceof Error)) similar.set(key, [result.entry.id]);
      results.push(result);
    }
    return results;
  }

  get(id: string): Promise<Entry | undefined> {
    return this.#rows.get('entry', id);
  }

  async getAll(ids: readonly string[]): Promise<readonly (Entry | undefined)[]> {
    await this.#rows.load('entry', ids);
    return Promise.all(ids.map((id) => this.get(id)));
  }

  async update(id: string, change: EntryChange): Promise<Entry> {
    const before = await this.#existing(id);
    const selectors = normalizeSelectors(change.selectors ?? before.selectors);
    const after = { ...before, ...change, selectors, revisionNumber: before.revisionNumber + 1 };
    await this.#checkBundles(change.federatesWith ?? [], after.spiffeId.trustDomain);
    const key = similarKey(after);
    if (hasMoved(before, after)) this.#rows.keepFormer('entry', id);
    this.#rows.put('entry', after, key);
    return after;
  }

  async delete(id: string): Promise<Entry> {
    const entry = await this.#existing(id);
    this.#rows.delete('entry', id);
    return entry;
  }

  /** All entries that federate with a trust domain; scans. */
  async federatingWith(trustDomain: TrustDomain): Promise<readonly Entry[]> {
    const candidates = await this.#rows.search('entry', JSON.stringify(trustDomain.name));
    return candidates.filter((entry) => entry.federatesWith.some((each) => each.equals(trustDomain)));
  }

  async #createOne(entry: NewEntry, key: string, similar: readonly string[] | undefined): Promise<CreatedEntry> {
    const existing = similar?.[0] === undefined ? undefined : await this.get(similar[0]);
    if (existing !== undefined) return { kind: 'exists', entry: existing };
    const id = entry.id === undefined || entry.id === '' ? randomUUID() : entry.id;
    if (entry.id === id && (await this.get(id)) !== undefined) {
      throw new IdentityError('already_exists', 'another entry has this ID; choose another or leave it out', {
        field: 'entry.id',
      });
    }
    await this.#checkBundles(entry.federatesWith, entry.spiffeId.trustDomain);
    const created = { ...entry, id, revisionNumber: 0, createdAtSeconds: this.#nowSeconds };
    this.#rows.keepFormer('entry', id);
    this.#rows.put('entry', created, key);
    return { kind: 'created', entry: created };
  }

  async #existing(id: string): Promise<Entry> {
    const entry = await this.get(id);
    if (entry === undefined) throw new IdentityError('not_found', 'entry not found');
    return entry;
  }

  async #loadBundles(trustDomains: readonly TrustDomain[]): Promise<void> {
    await this.#rows.load('bundle', [...new Set(trustDomains.map(({ name }) => name))]);
  }

  /** The own bundle, composed of authorities, is always there. */
  async #checkBundles(trustDomains: readonly TrustDomain[], own: TrustDomain): Promise<void> {
    for (const { name } of trustDomains) {
      if (name !== own.name && (await this.#rows.get('bundle', name)) === undefined) {
        const message = `there is no bundle of the trust domain "${name}"; set its bundle or create a federation relationship first`;
        throw new IdentityError('failed_precondition', message, { field: 'entry.federates_with' });
      }
    }
  }
}

/** Whether the update can change which agents the entry, or its descendants, belong to, or which policies concern its workload. */
function hasMoved(before: Entry, after: Entry): boolean {
  if (!saysTheSame(before, after)) return true;
  if (!before.spiffeId.equals(after.spiffeId) || !before.parentId.equals(after.parentId)) return true;
  return isNodeAlias(after) && similarKey(before) !== similarKey(after);
}

function onlyIdentityError(error: unknown): IdentityError {
  // `unavailable` is the store's, not the entry's: the rest of the batch would fail like it.
  if (error instanceof IdentityError && error.code !== 'unavailable') return error;
  throw error;
}
