// The engine against the semantics written a second time, over many random policies and calls. COUNTERSIGN_POLICY_CALLS sets how many.
import { expect, test } from 'vitest';
import { loadAllExpressions } from '../../policy/expressions/load.ts';
import { compareEvaluators } from '../support/policy/agreement.ts';

const CALLS = Number(process.env['COUNTERSIGN_POLICY_CALLS'] ?? 1_000_000);

test(`the engine and the naive evaluator agree on ${CALLS} random calls`, async () => {
  const { compared, reasons } = compareEvaluators(CALLS, await loadAllExpressions());
  expect(compared).toBeGreaterThanOrEqual(CALLS);
  const rare = ['allowed_by_rule', 'denied_by_rule', 'no_rule_matches'].filter(
    (reason) => (reasons.get(reason) ?? 0) < CALLS / 50,
  );
  expect(rare).toEqual([]);
});
