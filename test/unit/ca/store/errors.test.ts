import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import { IdentityError, isIdentityError } from '../../../../core/errors.ts';
import { systemClock } from '../../../../core/clock.ts';
import { openStore } from '../../../../ca/store/open.ts';
import { PostgresDatabase } from '../../../../ca/store/postgres.ts';
import { postgresError, sqliteError } from '../../../../ca/store/store-errors.ts';

const failure = (fields: object): Error => Object.assign(new Error('driver text'), fields);

describe('what the drivers throw', () => {
  test.each([
    ['PostgreSQL is stopping', postgresError, { code: '57P01' }],
    ['a wrong password', postgresError, { code: '28P01' }],
    ['no such database', postgresError, { code: '3D000' }],
    ['a standby', postgresError, { code: '25006' }],
    ['a full disk', postgresError, { code: '53100' }],
    ['too many connections', postgresError, { code: '53300' }],
    ['a lock that is held too long', postgresError, { code: '55P03' }],
    ['a refused connection', postgresError, { code: 'ECONNREFUSED' }],
    ['a connection that ended', postgresError, {}],
    ['a disk that fails', sqliteError, { errcode: 10 | (4 << 8) }],
    ['a file that may not be opened', sqliteError, { code: 'EACCES' }],
    ['a read-only file system', sqliteError, { code: 'EROFS' }],
  ])('%s is unavailable, with something to do about it, and may be tried again', (_, translate, fields) => {
    const cause = failure(fields);
    const translated = translate(cause);
    expect(translated).toMatchObject({ code: 'unavailable', cause, retryAfterMs: 1000 });
    expect(translated).not.toHaveProperty('message', expect.stringContaining('driver text'));
  });

  test.each([
    ['a faulty statement', postgresError, { code: '42601' }],
    ['a constraint', postgresError, { code: '23505' }],
    ['a faulty statement', sqliteError, { errcode: 1 }],
    ['an error of another kind', sqliteError, { code: 'EMFILE' }],
  ])('%s is a defect and stays what it is', (_, translate, fields) => {
    const cause = failure(fields);
    expect(translate(cause)).toBe(cause);
  });

  test('an IdentityError stays what it is', () => {
    const error = new IdentityError('not_found', 'x');
    expect(postgresError(error)).toBe(error);
  });
});

test.each(['', 'http://example.org', 'postgres://user:hunter2@host:port/db', 'postgres://user:hunter2@[/db'])(
  'the store URL "%s" is refused without being repeated',
  async (url) => {
    const opening = openStore({ kind: 'postgres', url }, { clock: systemClock });
    await expect(opening).rejects.toMatchObject({ code: 'invalid_argument', field: 'store' });
    const error: unknown = await opening.catch((reason: unknown) => reason);
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('hunter2');
  },
);

test('a server that is not there is unavailable, soon', async () => {
  const startMs = performance.now();
  const opening = openStore({ kind: 'postgres', url: 'postgres://nobody@127.0.0.1:1/none' }, { clock: systemClock });
  await expect(opening).rejects.toMatchObject({ code: 'unavailable' });
  expect(performance.now() - startMs).toBeLessThan(3000);
});

test('behind a server that never answers, those who queue are refused together', async () => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  // The cast is sound: a TCP server's address is never a path.
  const { port } = silent.address() as AddressInfo;
  const database = new PostgresDatabase({ url: `postgres://nobody@127.0.0.1:${port}/none`, clock: systemClock });
  const startMs = performance.now();
  const writes = Array.from({ length: 50 }, () => database.write(async () => ({ value: 0, commit: undefined })));
  const results = await Promise.allSettled(writes);
  expect(results.every((result) => result.status === 'rejected' && isIdentityError(result.reason, 'unavailable'))).toBe(true);
  expect(performance.now() - startMs).toBeLessThan(6000);
  await database[Symbol.asyncDispose]();
  silent.close();
});
