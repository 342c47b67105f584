import { randomUUID } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { numberIn } from './database.ts';
import type { Database, Sql } from './database.ts';

/**
 * The schema's history: each step once, in order, never changed after a release. Plain SQL that both databases take.
 * `resource` has one row for each resource in its latest state; a deletion keeps the row until it is pruned, so the table is
 * its own change feed.
 */
const STEPS: readonly (readonly string[])[] = [
  [
    `CREATE TABLE feed (
       feed_id TEXT PRIMARY KEY,
       head_revision BIGINT NOT NULL,
       next_position BIGINT NOT NULL,
       pruned_revision BIGINT NOT NULL
     )`,
    `CREATE TABLE resource (
       kind TEXT NOT NULL,
       name TEXT NOT NULL,
       revision BIGINT NOT NULL,
       position BIGINT NOT NULL,
       similar_key TEXT,
       deleted_at_ms BIGINT,
       value TEXT NOT NULL,
       PRIMARY KEY (kind, name)
     )`,
    'CREATE UNIQUE INDEX resource_feed ON resource (revision, position)',
    'CREATE INDEX resource_similar ON resource (kind, similar_key) WHERE similar_key IS NOT NULL',
    'CREATE INDEX resource_deleted ON resource (revision) WHERE deleted_at_ms IS NOT NULL',
    `CREATE TABLE join_token (
       sha256 TEXT PRIMARY KEY,
       expires_at_seconds BIGINT NOT NULL
     )`,
  ],
  // Recorded calls: not part of the feed.
  [
    `CREATE TABLE recorded_kind (
       kind_id TEXT PRIMARY KEY,
       destination TEXT NOT NULL,
       destination_namespace TEXT NOT NULL,
       source_namespace TEXT NOT NULL,
       source_account TEXT NOT NULL,
       last_hour BIGINT NOT NULL,
       value TEXT NOT NULL
     )`,
    'CREATE INDEX recorded_kind_age ON recorded_kind (last_hour)',
    `CREATE TABLE recorded_count (
       kind_id TEXT NOT NULL,
       hour BIGINT NOT NULL,
       calls BIGINT NOT NULL,
       last_seen_ms BIGINT NOT NULL,
       PRIMARY KEY (kind_id, hour)
     )`,
    'CREATE INDEX recorded_count_age ON recorded_count (hour)',
    `CREATE TABLE policy_hit (
       slot BIGINT NOT NULL,
       policy TEXT NOT NULL,
       hits BIGINT NOT NULL,
       would_deny_hits BIGINT NOT NULL,
       PRIMARY KEY (slot, policy)
     )`,
    `CREATE TABLE recorded_batch (
       batch_id TEXT PRIMARY KEY,
       received_ms BIGINT NOT NULL
     )`,
    'CREATE INDEX recorded_batch_age ON recorded_batch (received_ms)',
  ],
];

/**
 * Brings the schema up to date; several replicas may do so at once.
 *
 * @returns the feed's ID
 * @throws IdentityError `failed_precondition` when a newer release wrote the schema; `unavailable`
 */
export async function migrate(database: Database): Promise<void> {
  await database.migrate(async (sql) => {
    await sql.query('CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY)');
    const [row] = await sql.query('SELECT COALESCE(MAX(version), 0) AS version FROM migration');
    const version = numberIn(row, 'version');
    if (version > STEPS.length) throw newerSchema(version);
    for (const [index, step] of STEPS.entries()) {
      if (index >= version) await runStep(sql, index + 1, step);
    }
  });
}

async function runStep(sql: Sql, version: number, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await sql.query(statement);
  if (version === 1) await sql.query('INSERT INTO feed VALUES ($1, 0, 1, 0)', [randomUUID()]);
  await sql.query('INSERT INTO migration (version) VALUES ($1)', [version]);
}

function newerSchema(version: number): IdentityError {
  return new IdentityError(
    'failed_precondition',
    `the store has schema version ${version}, this release knows up to ${STEPS.length}: a newer release wrote it; run that one or a newer one`,
  );
}
