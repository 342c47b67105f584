import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { otherThan } from '../../../../agent/envoy/rbac/other-text.ts';
import { compileRegex } from '../../../../policy/expressions/re2.ts';

const few = (minLength: number) =>
  fc.string({ unit: fc.constantFrom('a', 'b', ']', '^', '-', '\\', '.'), minLength, maxLength: 5 });

test.each([
  ['exact', (text: string, literal: string) => text === literal],
  ['prefix', (text: string, literal: string) => text.startsWith(literal)],
  ['suffix', (text: string, literal: string) => text.endsWith(literal)],
] as const)('every text is either of the kind (%s), or another', (kind, holds) => {
  const literals = kind === 'exact' ? { exact: few(1) } : kind === 'prefix' ? { prefix: few(1) } : { suffix: few(1) };
  fc.assert(
    fc.property(fc.record<Record<string, string>>(literals), few(0), fc.boolean(), (wanted, other, isNear) => {
      const literal = Object.values(wanted)[0] ?? '';
      const text = isNear ? literal + other : other;
      // The cast is sound: it has one of the three fields.
      const { regex } = otherThan(wanted as { exact: string });
      expect(compileRegex(regex)(text)).toBe(!holds(text, literal));
    }),
    { numRuns: 2000 },
  );
});
