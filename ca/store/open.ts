import type { Clock } from '../../core/clock.ts';
import { SqlStore } from './sql-store.ts';
import { SqliteDatabase } from './sqlite.ts';
import type { Database } from './database.ts';
import type { Store } from './store.ts';

/** Which store: a file for one CA, or PostgreSQL for any number of replicas. */
export type StoreConfig =
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'postgres'; readonly url: string };

/** What a store needs of its process. */
export interface StoreDependencies {
  readonly clock: Clock;
  /** Told when the store's feed was lost (with the reason) and when it is back (without). */
  readonly onOutage?: (error: Error | undefined) => void;
}

/**
 * Opens a store and brings its schema up to date.
 *
 * @throws IdentityError `unavailable` (says what to do), `failed_precondition` (a newer release wrote it)
 * @example
 * await using store = await openStore({ kind: 'sqlite', path: './data/ca/store.db' }, { clock: systemClock });
 */
export async function openStore(config: StoreConfig, dependencies: StoreDependencies): Promise<Store> {
  const database = await openDatabase(config, dependencies);
  try {
    return await SqlStore.open(database, dependencies.clock);
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}

async function openDatabase(config: StoreConfig, dependencies: StoreDependencies): Promise<Database> {
  if (config.kind === 'sqlite') return new SqliteDatabase(config.path);
  // Loaded when needed: the driver costs memory and time at start.
  const { PostgresDatabase } = await import('./postgres.ts');
  return new PostgresDatabase({ url: config.url, ...dependencies });
}
