import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { LineSplitter, ListSplitter } from '../../../../runtime/kubernetes/json-stream.ts';

/** Cuts text into chunks of a size, in bytes. */
function chunks(text: string, size: number): Buffer[] {
  const bytes = Buffer.from(text);
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
}

function split(text: string, size: number): { items: unknown[]; rest: unknown } {
  const splitter = new ListSplitter();
  const items = chunks(text, size).flatMap((chunk) => [...splitter.push(chunk)].map((item): unknown => JSON.parse(item)));
  return { items, rest: JSON.parse(splitter.end()) };
}

const hostile = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('items', '"items":[', '}]', '\\', '\\"', '[{', 'ä€😀'));
const value = fc.jsonValue({ depthSize: 'small' });
const item = fc.dictionary(hostile, fc.oneof(value, hostile));

describe('the splitter of lists', () => {
  it('finds the same items and rest as a parser of the whole, wherever chunks end', () => {
    fc.assert(
      fc.property(
        fc.array(item),
        fc.dictionary(hostile, value),
        fc.boolean(),
        fc.integer({ min: 1, max: 64 }),
        (items, around, first, size) => {
          const rest = Object.fromEntries(Object.entries(around).filter(([key]) => key !== 'items'));
          // Some values, such as -0, are others in JSON.
          const expected: unknown = JSON.parse(JSON.stringify({ items, rest: { ...rest, items: [] } }));
          const list = first ? { items, ...rest } : { ...rest, items };
          for (const text of [JSON.stringify(list), JSON.stringify(list, null, 2)]) {
            expect(split(text, size)).toEqual(expected);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it.each(['{"items":[1]}', '{"items":["x"]}', '{"items":[[]]}', '{"items":[{}', '{"items":[{"a":"}]}', '{"items":[{}],', '{'])(
    'refuses %s',
    (text) => {
      expect(() => split(text, 3)).toThrow(expect.objectContaining({ code: 'unavailable' }));
    },
  );

  it('leaves lists that are deeper, and a null, alone', () => {
    expect(split('{"a":{"items":[{"b":1}]},"items":null}', 5)).toEqual({
      items: [],
      rest: { a: { items: [{ b: 1 }] }, items: null },
    });
  });

  it('refuses an object that never ends', () => {
    const splitter = new ListSplitter();
    const chunk = Buffer.alloc(1024 * 1024, 0x20);
    const push = (): void => {
      Array.from(splitter.push(Buffer.from('{"items":[{')));
      for (let sent = 0; sent < 20; sent += 1) Array.from(splitter.push(chunk));
    };
    expect(push).toThrow(expect.objectContaining({ code: 'unavailable' }));
  });
});

describe('the splitter of lines', () => {
  it('finds lines wherever chunks end, and skips empty ones', () => {
    const text = '{"a":"ä"}\n\n{"b":2}\n{"c":';
    for (let size = 1; size < 12; size += 1) {
      const splitter = new LineSplitter();
      expect(chunks(text, size).flatMap((chunk) => [...splitter.push(chunk)])).toEqual(['{"a":"ä"}', '{"b":2}']);
    }
  });
});
