import { expect, test } from 'vitest';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import { compareEvaluators } from '../../support/policy/agreement.ts';

// A million of them: test/conformance/policy-agreement.test.ts.
test('the engine and the naive evaluator agree on random calls', async () => {
  const { compared, reasons } = compareEvaluators(10_000, await loadAllExpressions());
  expect(compared).toBeGreaterThanOrEqual(10_000);
  const rare = ['allowed_by_rule', 'denied_by_rule', 'no_rule_matches', 'path_encoded_slash', 'path_dot_segment'].filter(
    (reason) => (reasons.get(reason) ?? 0) < 100,
  );
  expect(rare).toEqual([]);
});
