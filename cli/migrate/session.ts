import { resolve } from 'node:path';

import { systemClock } from '../../core/clock.ts';
import { parseDuration } from '../../core/duration.ts';
import { IdentityError } from '../../core/errors.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { parseListenAddress } from '../../runtime/config-file.ts';
import { connectGrpc, toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectCa } from '../ca-connection.ts';
import type { Invocation } from '../command.ts';
import { allAgents, longestTtlOf, SPIRE_DEFAULT_TTL_SECONDS, spireSvidsEndAt } from './agents.ts';
import { allEntries } from './entries.ts';
import { readRecord, writeRecord, type MigrationRecord } from './record.ts';

/** Both servers and what is known of the migration; use it with `using`. */
export interface MigrationSession extends Disposable {
  readonly spire: GrpcConnection;
  readonly ca: GrpcConnection;
  readonly record: MigrationRecord;
  readonly recordFile: string;
  /** Whether nothing may be changed. */
  readonly planOnly: boolean;
}

const RECORD_FILE = 'countersign-migration.json';

/**
 * Connects to both and reads the record; whether SPIRE answers is for {@link withSpire} to say.
 *
 * @throws IdentityError `unavailable` when our CA does not answer, `failed_precondition` for a record of another trust domain
 */
export async function openSession(invocation: Invocation): Promise<MigrationSession> {
  using opened = new DisposableStack();
  const ca = opened.use(await connectCa(invocation));
  const spire = opened.use(await connectSpire(invocation));
  const trustDomain = await trustDomainOf(ca);
  const recordFile = resolve(invocation.terminal.cwd, invocation.text('record') ?? RECORD_FILE);
  const record = await readRecord(recordFile, trustDomain);
  const all = opened.move();
  const planOnly = invocation.flag('plan');
  return { spire, ca, record, recordFile, planOnly, [Symbol.dispose]: () => all.dispose() };
}

async function connectSpire(invocation: Invocation): Promise<GrpcConnection> {
  const from = invocation.requiredText('from');
  const { cwd } = invocation.terminal;
  const isSocket = from.startsWith('unix:') || from.includes('/');
  const target = parseListenAddress(isSocket && !from.startsWith('unix:') ? `unix:${from}` : from, cwd);
  if (target.kind === 'unix') return connectGrpc({ target, clock: systemClock });
  return (await import('../remote-admin.ts')).connectAsAdmin(invocation, target);
}

async function trustDomainOf(connection: GrpcConnection): Promise<string> {
  const { trustDomain } = await connection.client(BundleService).getBundle({ outputMask: {} });
  return trustDomain;
}

/**
 * Checks that SPIRE answers and is of our trust domain, and notes until when its SVIDs may live.
 *
 * @returns The session with that in its record
 * @throws IdentityError `failed_precondition`, `unavailable`
 */
export async function withSpire(session: MigrationSession, invocation: Invocation): Promise<MigrationSession> {
  const theirs = await trustDomainOf(session.spire).catch((error: unknown) => {
    throw new IdentityError('unavailable', `the SPIRE server (--from) does not answer: ${toIdentityError(error).message}`, {
      cause: error,
    });
  });
  if (theirs !== session.record.trustDomain) {
    throw new IdentityError(
      'failed_precondition',
      `SPIRE is of ${theirs} and the CA of ${session.record.trustDomain}: a migration stays in one trust domain`,
    );
  }
  const [agents, entries] = await Promise.all([allAgents(session.spire), allEntries(session.spire)]);
  const longestTtlSeconds = longestTtlOf(entries, defaultTtlSeconds(invocation));
  const endAt = Math.max(session.record.spireSvidsEndAt, spireSvidsEndAt(agents, longestTtlSeconds));
  const record = { ...session.record, spireSvidsEndAt: endAt, longestTtlSeconds, spireGoneSince: 0 };
  return { ...session, record: await keepRecord(session, record) };
}

function defaultTtlSeconds(invocation: Invocation): number {
  const text = invocation.text('spire-svid-ttl');
  return text === undefined ? SPIRE_DEFAULT_TTL_SECONDS : Math.ceil(parseDuration(text, '--spire-svid-ttl').ms / 1000);
}

/**
 * Writes the record, unless nothing may be changed.
 *
 * @returns The record as it is now, with what other commands have noted in it meanwhile
 */
export async function keepRecord({ recordFile, planOnly }: MigrationSession, record: MigrationRecord): Promise<MigrationRecord> {
  return planOnly ? record : await writeRecord(recordFile, record);
}
