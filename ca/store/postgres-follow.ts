import { Client } from 'pg';
import type { ClientConfig } from 'pg';
import { sleep } from '../../core/clock.ts';
import type { Clock } from '../../core/clock.ts';
import { Backoff } from '../../core/backoff.ts';
import { postgresError } from './store-errors.ts';

/** What {@link followPostgres} needs. */
export interface FollowOptions {
  readonly connection: ClientConfig;
  readonly clock: Clock;
  readonly onHead: (revision: number) => void;
  /** Told when the connection was lost (with the reason) and when it is back (without). */
  readonly onOutage: (error: Error | undefined) => void;
  readonly signal: AbortSignal;
}

/** The channel on which each commit tells its revision. */
export const FEED_CHANNEL = 'countersign_feed';
// A connection can be dead without anyone telling; a question now and then finds out, and repairs a lost notification.
const CHECK_INTERVAL_MS = 30_000;
const FAREWELL_MS = 1000;

/**
 * Listens for commits of all replicas until the signal aborts, reconnecting with backoff. After each (re)connect the head is
 * read once listening is in force, so that nothing between is missed.
 */
export async function followPostgres(options: FollowOptions): Promise<void> {
  const { clock, signal } = options;
  let isOut = false;
  const onOutage = (error: Error | undefined): void => {
    if (isOut === (error !== undefined)) return;
    isOut = !isOut;
    options.onOutage(error);
  };
  const backoff = new Backoff({ initialMs: 100, maxMs: 5000 });
  while (!signal.aborted) {
    try {
      await listenOnce(options, () => {
        backoff.reset();
        onOutage(undefined);
      });
    } catch (error) {
      if (isAborted(signal)) return;
      const failure = postgresError(error);
      onOutage(failure instanceof Error ? failure : new Error('lost the connection to PostgreSQL', { cause: failure }));
      await sleep(clock, backoff.nextMs(), signal).catch(() => undefined);
    }
  }
}

// Apart, because the compiler takes a signal that was not aborted for one that never will be.
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

async function listenOnce(options: FollowOptions, onListening: () => void): Promise<void> {
  const { clock, onHead, signal } = options;
  const client = new Client(options.connection);
  const ended = Promise.withResolvers<void>();
  const onAbort = (): void => ended.resolve();
  // The promise may reject while nobody waits for it yet.
  ended.promise.catch(() => undefined);
  client.on('error', (error) => ended.reject(error));
  client.on('end', () => ended.reject(new Error('connection ended')));
  client.on('notification', ({ payload }) => onHead(Number(payload)));
  signal.addEventListener('abort', onAbort, { once: true });
  const checks = new AbortController();
  try {
    await client.connect();
    await client.query(`LISTEN ${FEED_CHANNEL}`);
    await tellHead(client, onHead);
    onListening();
    checkFromTimeToTime(client, { clock, onHead, onFailure: ended.reject, signal: checks.signal });
    await ended.promise;
  } finally {
    checks.abort();
    signal.removeEventListener('abort', onAbort);
    // Over a dead network the farewell would wait for TCP to give up.
    await Promise.race([client.end().catch(() => undefined), sleep(clock, FAREWELL_MS)]);
  }
}

function checkFromTimeToTime(
  client: Client,
  options: { clock: Clock; onHead: (revision: number) => void; onFailure: (error: unknown) => void; signal: AbortSignal },
): void {
  const { clock, onHead, onFailure, signal } = options;
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      await sleep(clock, CHECK_INTERVAL_MS, signal);
      await tellHead(client, onHead);
    }
  };
  loop().catch((error: unknown) => {
    if (!signal.aborted) onFailure(error);
  });
}

async function tellHead(client: Client, onHead: (revision: number) => void): Promise<void> {
  const { rows } = await client.query<{ head_revision: number }>('SELECT head_revision FROM feed');
  const [row] = rows;
  if (row !== undefined) onHead(row.head_revision);
}
