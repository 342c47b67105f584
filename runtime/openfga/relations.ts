import { readFile } from 'node:fs/promises';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { RelationQuery } from '../../policy/model.ts';
import { CachedRelations } from '../../policy/relations/cache.ts';
import type { RelationSource } from '../../policy/relations/source.ts';
import type { Logger } from '../log.ts';
import type { OpenFgaConfig } from './config.ts';
import { OpenFgaExchange } from './exchange.ts';
import { Rest } from './rest.ts';

/** What {@link OpenFgaRelations} is made from. */
export interface OpenFgaOptions {
  readonly exchange: OpenFgaExchange;
  readonly storeId: string;
  /** The store's newest model unless given. */
  readonly modelId?: string | undefined;
  readonly timeoutMs: number;
  readonly consistency: OpenFgaConfig['consistency'];
  readonly clock: Clock;
  readonly log: Logger;
}

/** What an OpenFGA server takes in one batch unless it is told otherwise. */
const CHECKS_IN_A_BATCH = 50;
const LOG_INTERVAL_MS = 10_000;
const CONSISTENCY = { minimizeLatency: 'MINIMIZE_LATENCY', higherConsistency: 'HIGHER_CONSISTENCY' } as const;

/** Asks an OpenFGA server about relations: all or nothing, within a deadline. Failures are logged when they begin and when they end. */
export class OpenFgaRelations implements RelationSource {
  readonly #options: OpenFgaOptions;
  readonly #rest: Rest;
  /** Servers before v1.8 answer one question at a time. */
  #knowsBatches = true;
  #failure: { readonly text: string; readonly atMs: number } | undefined;

  constructor(options: OpenFgaOptions) {
    this.#options = options;
    this.#rest = new Rest(options.clock);
  }

  /** @throws IdentityError `deadline_exceeded`, `unavailable` (also while the store is left in peace), or as `OpenFgaExchange.post` */
  async check(queries: readonly RelationQuery[]): Promise<readonly boolean[]> {
    return this.#rest.around(() => this.#checkInTime(queries));
  }

  async #checkInTime(queries: readonly RelationQuery[]): Promise<readonly boolean[]> {
    const { clock, timeoutMs } = this.#options;
    const limit = new AbortController();
    const timer = clock.setTimer(timeoutMs, () => {
      limit.abort(new IdentityError('deadline_exceeded', `the relation store did not answer in ${timeoutMs} ms`));
    });
    try {
      const answers = await this.#ask(queries, limit.signal);
      this.#succeeded();
      return answers;
    } catch (error) {
      // What was asked beside it is not waited for.
      limit.abort(error);
      this.#failed(error);
      throw error;
    } finally {
      timer.cancel();
    }
  }

  async #ask(queries: readonly RelationQuery[], signal: AbortSignal): Promise<readonly boolean[]> {
    if (queries.length > 1 && this.#knowsBatches) {
      const parts = await Promise.all(inParts(queries).map((part) => this.#askBatch(part, signal)));
      if (this.#knowsBatches) return parts.flatMap((part) => part ?? []);
    }
    return Promise.all(queries.map((query) => this.#askOne(query, signal)));
  }

  /** @returns undefined where the server knows no batches */
  async #askBatch(queries: readonly RelationQuery[], signal: AbortSignal): Promise<readonly boolean[] | undefined> {
    const checks = queries.map((query, index) => ({ tuple_key: query, correlation_id: String(index) }));
    const answer = await this.#post('batch-check', { checks }, signal);
    if (answer.kind === 'unknown_endpoint') {
      this.#knowsBatches = false;
      return undefined;
    }
    const result = fieldOf(answer.value, 'result');
    return queries.map((_query, index) => allowedIn(fieldOf(result, String(index))));
  }

  async #askOne(query: RelationQuery, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#post('check', { tuple_key: query }, signal);
    if (answer.kind === 'answer') return allowedIn(answer.value);
    throw new IdentityError('not_found', 'the relation store knows no checks; is this the URL of an OpenFGA server?');
  }

  #post(what: 'check' | 'batch-check', body: object, signal: AbortSignal): ReturnType<OpenFgaExchange['post']> {
    const { exchange, storeId, modelId, consistency } = this.#options;
    const model = modelId === undefined ? {} : { authorization_model_id: modelId };
    return exchange.post(`/stores/${storeId}/${what}`, { ...body, ...model, consistency: CONSISTENCY[consistency] }, signal);
  }

  #succeeded(): void {
    if (this.#failure === undefined || !this.#isLongAgo(this.#failure.atMs)) return;
    this.#failure = undefined;
    this.#options.log.info('relation store answers again');
  }

  // A caller may be able to make a question fail, again and again: that must not fill the log.
  #failed(error: unknown): void {
    const { clock, log } = this.#options;
    const text = error instanceof Error ? error.message : 'unknown reason';
    if (this.#failure !== undefined && (this.#failure.text === text || !this.#isLongAgo(this.#failure.atMs))) return;
    this.#failure = { text, atMs: clock.monotonicMs() };
    log.warn({ reason: text }, 'relation store not asked; rules with relations fail closed');
  }

  #isLongAgo(atMs: number): boolean {
    return this.#options.clock.monotonicMs() - atMs >= LOG_INTERVAL_MS;
  }
}

function inParts(queries: readonly RelationQuery[]): readonly (readonly RelationQuery[])[] {
  const count = Math.ceil(queries.length / CHECKS_IN_A_BATCH);
  return Array.from({ length: count }, (_, index) => queries.slice(index * CHECKS_IN_A_BATCH, (index + 1) * CHECKS_IN_A_BATCH));
}

function fieldOf(value: unknown, name: string): unknown {
  // Reflect.get reads own and inherited fields alike; JSON has no inherited ones but Object's, which are no objects with `allowed`.
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** Whatever is no plain yes or no, such as an error about one question of several, is no answer. */
function allowedIn(value: unknown): boolean {
  const allowed = fieldOf(value, 'allowed');
  if (typeof allowed === 'boolean') return allowed;
  throw new IdentityError(
    'failed_precondition',
    'the relation store could not answer a question; does its model have the types and relations?',
  );
}

/** A relation store with its connections, as a configuration describes it. */
export interface OpenedRelations extends Disposable {
  readonly relations: RelationSource;
}

/**
 * Opens the relation store of a configuration; it is asked when it is first needed.
 *
 * @throws IdentityError `failed_precondition` when a file cannot be read
 */
export async function openOpenFga(
  config: OpenFgaConfig,
  around: { readonly clock: Clock; readonly log: Logger },
): Promise<OpenedRelations> {
  const { url, tokenFile, caFile, timeout, cache } = config;
  const rootsPem = caFile === undefined ? undefined : await readRoots(caFile);
  const exchange = new OpenFgaExchange({ url, tokenFile, rootsPem, clock: around.clock });
  const source = new OpenFgaRelations({ ...config, ...around, exchange, timeoutMs: timeout.ms });
  const relations = new CachedRelations(source, { clock: around.clock, ttlMs: cache.ttl.ms, maxEntries: cache.maxEntries });
  return { relations, [Symbol.dispose]: () => exchange[Symbol.dispose]() };
}

async function readRoots(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('failed_precondition', `cannot read the relation store's roots (${why})`, { cause });
  }
}
