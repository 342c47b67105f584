import { describe, expect, it } from 'vitest';

import type { BundleItem } from '../../../../cli/migrate/authorities.ts';
import type { MigrationRecord } from '../../../../cli/migrate/record.ts';
import { isSettled, recordAfter, trustPlanOf, type TrustPlan } from '../../../../cli/migrate/trust.ts';

const NOW_MS = 1_000_000_000_000;
const LATER = NOW_MS / 1000 + 3600;
const record: MigrationRecord = {
  trustDomain: 'example.org',
  given: [],
  taken: [],
  spireSvidsEndAt: 0,
  longestTtlSeconds: 0,
  spireGoneSince: 0,
  finished: false,
};

function authority(id: string, more: Partial<BundleItem> = {}): BundleItem {
  return { kind: 'x509', id, fingerprint: `x509:${id}`, bytes: new Uint8Array(), expiresAt: LATER, appended: false, ...more };
}

function plan(theirs: readonly BundleItem[], ours: readonly BundleItem[], known: Partial<MigrationRecord> = {}): TrustPlan {
  return trustPlanOf({ theirs, ours, record: { ...record, ...known }, nowMs: NOW_MS });
}

function ids(items: readonly BundleItem[]): string[] {
  return items.map(({ id }) => id);
}

describe('trust both ways', () => {
  const [spire, ca] = [authority('spire'), authority('ca')];

  it('gives each side what the other signs with, once', () => {
    const first = plan([spire], [ca]);
    expect([ids(first.giveToSpire), ids(first.takeFromSpire)]).toEqual([['ca'], ['spire']]);
    const after = recordAfter(record, first);
    expect(after).toMatchObject({ given: ['x509:ca'], taken: ['x509:spire'] });
    const second = plan([spire, ca], [ca, { ...spire, appended: true }], after);
    expect(isSettled(second)).toBe(true);
    expect(recordAfter(after, second)).toEqual(after);
  });

  it('never carries an authority back to where it came from', () => {
    const here = [ca, { ...spire, appended: true }];
    // Even where the record is lost: what we were given is not ours to give.
    expect(ids(plan([], here).giveToSpire)).toEqual(['ca']);
    // What we have revoked is not SPIRE's, though its bundle still has it.
    const revoked = plan([spire, ca], [{ ...spire, appended: true }], { given: ['x509:ca'] });
    expect(revoked).toMatchObject({ takeFromSpire: [], giveToSpire: [] });
    expect(ids(revoked.stuckInSpire)).toEqual(['ca']);
  });

  it('drops what SPIRE has revoked, and nothing that others appended', () => {
    const ours = [ca, { ...spire, appended: true }, authority('else', { appended: true })];
    expect(ids(plan([ca], ours, { given: ['x509:ca'], taken: ['x509:spire'] }).dropHere)).toEqual(['spire']);
  });

  it('leaves expired authorities where they are', () => {
    const old = { expiresAt: NOW_MS / 1000 - 1 };
    expect(isSettled(plan([authority('a', old)], [authority('b', old)]))).toBe(true);
    expect(isSettled(plan([authority('a', { expiresAt: 0 })], []))).toBe(false);
  });

  it('gives WIT authorities only to a server that has some', () => {
    const wit = authority('w', { kind: 'wit', fingerprint: 'wit:w' });
    expect(ids(plan([spire], [wit]).giveToSpire)).toEqual([]);
    const theirs = [spire, authority('v', { kind: 'wit', fingerprint: 'wit:v' })];
    expect(ids(plan(theirs, [wit]).giveToSpire)).toEqual(['w']);
  });
});
