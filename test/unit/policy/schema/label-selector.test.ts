import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decode } from '../../../../core/decode.ts';
import {
  indexLabelOf,
  labelSelector,
  matches,
  selectsEverything,
  unlimitedLabelSelector,
} from '../../../../policy/schema/label-selector.ts';
import type { LabelRequirement, LabelSelector, Labels } from '../../../../policy/schema/label-selector.ts';

const key = fc.constantFrom('app', 'tier', 'example.org/stage', 'constructor', '__proto__');
const value = fc.constantFrom('', 'web', 'db', 'test');
const labels: fc.Arbitrary<Labels> = fc.dictionary(key, value, { noNullPrototype: true });
const requirement: fc.Arbitrary<LabelRequirement> = fc.oneof(
  fc.record({ key, operator: fc.constantFrom('In', 'NotIn'), values: fc.array(value, { minLength: 1, maxLength: 3 }) }),
  fc.record({ key, operator: fc.constantFrom('Exists', 'DoesNotExist'), values: fc.constant([]) }),
);
const selector: fc.Arbitrary<LabelSelector> = fc.record({
  matchLabels: fc.dictionary(key, value, { maxKeys: 2, noNullPrototype: true }),
  matchExpressions: fc.array(requirement, { maxLength: 3 }),
});

/** The documented meaning, read aloud: each label is looked for among all of them. */
function naive({ matchLabels, matchExpressions }: LabelSelector, among: Labels): boolean {
  const pairs = Object.entries(among);
  const has = (wanted: string): boolean => pairs.some(([name]) => name === wanted);
  const hasOneOf = (wanted: string, values: readonly string[]): boolean =>
    pairs.some(([name, found]) => name === wanted && values.includes(found));
  const judge = {
    In: (each: LabelRequirement) => hasOneOf(each.key, each.values),
    NotIn: (each: LabelRequirement) => !hasOneOf(each.key, each.values),
    Exists: (each: LabelRequirement) => has(each.key),
    DoesNotExist: (each: LabelRequirement) => !has(each.key),
  };
  return (
    Object.entries(matchLabels).every(([name, wanted]) => hasOneOf(name, [wanted])) &&
    matchExpressions.every((each) => judge[each.operator](each))
  );
}

describe('matches', () => {
  test('agrees with a naive evaluation', () => {
    fc.assert(
      fc.property(selector, labels, (wanted, among) => {
        expect(matches(wanted, among)).toBe(naive(wanted, among));
      }),
      { numRuns: 2000 },
    );
  });

  test('an empty selector selects everything, and nothing else is empty', () => {
    fc.assert(
      fc.property(selector, labels, (wanted, among) => !selectsEverything(wanted) || matches(wanted, among)),
      { numRuns: 500 },
    );
    expect(selectsEverything({ matchLabels: {}, matchExpressions: [] })).toBe(true);
    expect(selectsEverything({ matchLabels: { a: '' }, matchExpressions: [] })).toBe(false);
  });
});

test('every object that is selected has the label to index by', () => {
  fc.assert(
    fc.property(selector, labels, (wanted, among) => {
      const hint = indexLabelOf(wanted);
      if (hint === undefined || !matches(wanted, among)) return;
      expect(hint.values).toContain(Object.hasOwn(among, hint.key) ? among[hint.key] : undefined);
    }),
    { numRuns: 2000 },
  );
});

describe('reading', () => {
  const { decoder } = unlimitedLabelSelector;

  test('fills in what is absent', () => {
    expect(decode(decoder, {})).toEqual({ matchLabels: {}, matchExpressions: [] });
    expect(decode(decoder, { matchExpressions: [{ key: 'a', operator: 'Exists' }] })).toEqual({
      matchLabels: {},
      matchExpressions: [{ key: 'a', operator: 'Exists', values: [] }],
    });
  });

  test('what is written is what is read', () => {
    // An empty matchLabels may be what a template has left of a label.
    const legal = selector.filter(
      (each) => Object.keys(each.matchLabels).length > 0 && !JSON.stringify(each).includes('__proto__'),
    );
    fc.assert(
      fc.property(legal, (written) => {
        expect(decode(labelSelector.decoder, written)).toEqual(written);
      }),
    );
  });

  test('has no limits of ours for kinds that have none', () => {
    const values = Array.from({ length: 1000 }, (_, index) => `v${index}`);
    const big = { matchLabels: {}, matchExpressions: [{ key: 'a', operator: 'In', values }] };
    expect(decode(decoder, big)).toEqual(big);
    expect(() => decode(labelSelector.decoder, big)).toThrow(/matchExpressions\[0\]\.values: must not have more than 128/);
  });
});
