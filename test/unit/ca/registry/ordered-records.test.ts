import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { MultiMap } from '../../../../ca/registry/multi-map.ts';
import { OrderedRecords } from '../../../../ca/registry/ordered-records.ts';

test('records stay in order of position through any additions, removals and replacements', () => {
  const change = fc.record({ position: fc.integer({ min: 1, max: 200 }), add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 600 }), fc.integer({ min: 0, max: 200 }), (changes, after) => {
      const ordered = new OrderedRecords<{ readonly position: number }>();
      const expected = new Map<number, { readonly position: number }>();
      for (const { position, add } of changes) {
        const present = expected.get(position);
        if (present !== undefined) ordered.remove(present);
        expected.delete(position);
        if (!add) continue;
        const record = { position };
        ordered.add(record);
        expected.set(position, record);
      }
      const inOrder = [...expected.values()].filter(({ position }) => position > after).sort((a, b) => a.position - b.position);
      expect([...ordered.after(after)]).toEqual(inOrder);
      expect(ordered.size).toBe(expected.size);
    }),
  );
});

test('a removed record that is not there is no harm', () => {
  const ordered = new OrderedRecords<{ readonly position: number }>();
  ordered.add({ position: 1 });
  ordered.remove({ position: 1 });
  ordered.remove({ position: 2 });
  expect(ordered.size).toBe(1);
});

test('a multi-map holds each value once, and forgets keys without values', () => {
  const [a, b] = [{ name: 'a' }, { name: 'b' }];
  const map = new MultiMap<{ readonly name: string }>();
  for (const value of [a, a, b, b]) map.add('key', value);
  expect([...map.get('key')]).toEqual([a, b]);
  expect(map.count('key')).toBe(2);
  map.delete('key', a);
  map.delete('other', a);
  expect([...map.get('key')]).toEqual([b]);
  map.delete('key', b);
  expect([map.has('key'), map.count('key'), [...map.get('key')]]).toEqual([false, 0, []]);
});
