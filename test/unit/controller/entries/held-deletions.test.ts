import { expect, test } from 'vitest';
import { HeldDeletions, type MassDeletion } from '../../../../controller/entries/held-deletions.ts';
import { heldEntries } from '../../../../controller/entries/entry-changes.ts';
import { entryKey, selectorsOfKey } from '../../../../controller/identity/entry-key.ts';
import { createLogger } from '../../../../runtime/log.ts';

function keys(count: number, { from = 0, parentId = 'spiffe://example.org/node' } = {}): readonly string[] {
  return Array.from({ length: count }, (_, index) => {
    const selectors = ['k8s:ns:shop', `k8s:pod-uid:${from + index}`];
    return entryKey({ spiffeId: `spiffe://example.org/${from + index}`, parentId, selectors });
  });
}

function holding(declared: readonly string[], massDeletion: MassDeletion = 'refuse') {
  const wanted = new Set(declared);
  const entryOf = (key: string) => ({ key }) as never; // Only whether there is one is asked.
  const desired = { desired: (key: string) => (wanted.has(key) ? entryOf(key) : undefined), keys: () => wanted };
  return new HeldDeletions({
    massDeletion,
    desired,
    kinOf: selectorsOfKey,
    describe: (count) => heldEntries(count, 'main.'),
    log: createLogger({ level: 'fatal', name: 'test' }),
  });
}

test.each([
  ['all of eleven', 11, 0, 11],
  ['all of ten: few', 10, 0, 0],
  ['eleven of twenty-one: more than half', 21, 10, 11],
  ['eleven of twenty-two: half', 22, 11, 0],
  ['most of many', 600, 100, 500],
  ['none, when nothing is there', 0, 0, 0],
])(
  'at the start of a term holds back %s',
  (_what, known, declared, held) => {
    const deletions = holding(keys(declared));
    deletions.begin(keys(known));
    expect(deletions.size).toBe(held);
    expect(deletions.problem.value === undefined).toBe(held === 0);
    for (const key of keys(known)) expect(deletions.has(key)).toBe(held > 0 && !keys(declared).includes(key));
  },
  60_000,
);

test('says how many, which prefix and what to do', () => {
  const deletions = holding([]);
  deletions.begin(keys(61));
  for (const text of ['61 entries', '"main."', 'entryIdPrefix', '--plan', 'massDeletion: allow']) {
    expect(deletions.problem.value).toContain(text);
  }
});

test('holds back nothing where that is allowed', () => {
  const deletions = holding([], 'allow');
  deletions.begin(keys(61));
  deletions.appeared(keys(61, { from: 100 }));
  expect([deletions.size, deletions.problem.value]).toEqual([0, undefined]);
});

test('an entry that another one replaces for the same workload is not held', () => {
  const deletions = holding(keys(40, { parentId: 'spiffe://example.org/other' }));
  deletions.begin(keys(40));
  expect(deletions.size).toBe(0);
  deletions.begin(keys(200));
  expect(deletions.size).toBe(160);
});

test('holds what came without us: many at once, and any while others are held', () => {
  const deletions = holding(keys(2, { from: 500 }));
  deletions.begin([]);
  deletions.appeared(keys(10, { from: 100 }));
  expect(deletions.size).toBe(0);
  deletions.appeared(keys(11, { from: 200 }));
  expect(deletions.size).toBe(11);
  deletions.appeared(keys(3, { from: 500 }));
  expect(deletions.size).toBe(12);
});

test('lets go of what is declared or gone, and of all with the term', () => {
  const deletions = holding([]);
  deletions.begin(keys(12));
  deletions.release(keys(11));
  expect(deletions.problem.value).toContain('1 entries');
  deletions.release(keys(12));
  expect(deletions.problem.value).toBeUndefined();
  deletions.begin(keys(12));
  deletions.clear();
  expect([deletions.size, deletions.problem.value]).toEqual([0, undefined]);
});
