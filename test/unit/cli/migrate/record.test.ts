import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

import { readRecord, writeRecord } from '../../../../cli/migrate/record.ts';

describe('the record of a migration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'record-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  it('begins empty, and is read back as it was written', async () => {
    const file = join(folder, 'record.json');
    const record = await readRecord(file, 'example.org');
    expect(record).toEqual({
      trustDomain: 'example.org',
      given: [],
      taken: [],
      spireSvidsEndAt: 0,
      longestTtlSeconds: 0,
      spireGoneSince: 0,
      finished: false,
    });
    await writeRecord(file, { ...record, given: ['x509:a'], spireSvidsEndAt: 5 });
    expect(await readRecord(file, 'example.org')).toMatchObject({ given: ['x509:a'], spireSvidsEndAt: 5 });
    expect(readdirSync(folder)).toEqual(['record.json']);
    await writeRecord(file, { ...record, given: ['x509:b'], taken: ['jwt:c'], finished: true });
    const merged = await writeRecord(file, { ...record, spireSvidsEndAt: 3 });
    expect(merged).toMatchObject({ given: ['x509:a', 'x509:b'], taken: ['jwt:c'], spireSvidsEndAt: 5, finished: true });
  });

  it.each([
    '',
    '{',
    '[]',
    '{"trustDomain":"example.org"}',
    JSON.stringify({
      trustDomain: 'other.org',
      given: [],
      taken: [],
      spireSvidsEndAt: 0,
      longestTtlSeconds: 0,
      spireGoneSince: 0,
      finished: false,
    }),
  ])('refuses %j', async (text) => {
    const file = join(folder, 'odd.json');
    writeFileSync(file, text);
    await expect(readRecord(file, 'example.org')).rejects.toMatchObject({ code: 'failed_precondition' });
  });
});
