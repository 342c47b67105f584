import { describe, expect, test } from 'vitest';
import { decide } from '../../../policy/decide.ts';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import { CONDITIONS } from '../../support/policy/conditions.ts';
import { SCENARIOS } from '../../support/policy/conformance-table.ts';
import { decideNaively } from '../../support/policy/naive.ts';
import { callOf, policiesOf, snapshotOf, written } from '../../support/policy/table-types.ts';

const expressions = await loadAllExpressions();

describe.each(SCENARIOS.map((scenario) => [scenario.title, scenario] as const))('%s', (_title, scenario) => {
  const snapshot = snapshotOf(scenario, expressions);

  test('the engine decides as the table says', () => {
    const decided = scenario.rows.map((row) => [row[0], row[1], written(decide(snapshot, callOf(row)))]);
    expect(decided).toEqual(scenario.rows.map(([caller, request, expected]) => [caller, request, expected]));
  });

  // JavaScript's expressions backtrack, and the naive evaluator knows a few conditions only.
  const rules = policiesOf(scenario).flatMap((policy) => policy.rules);
  const isBeyond = rules.some(
    ({ when, to = [] }) =>
      (when !== undefined && !CONDITIONS.has(when)) ||
      to.some(({ paths = [] }) => paths.some(({ regex }) => regex !== undefined)),
  );
  test.skipIf(isBeyond)('so does the naive evaluator', () => {
    const decided = scenario.rows.map((row) =>
      written(decideNaively(policiesOf(scenario), callOf(row), scenario.defaultAction ?? 'deny')),
    );
    expect(decided).toEqual(scenario.rows.map(([, , expected]) => expected));
  });
});

test('there are at least 300 calls', () => {
  expect(SCENARIOS.flatMap(({ rows }) => rows).length).toBeGreaterThanOrEqual(300);
});
