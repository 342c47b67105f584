import { withUncertainPaths } from '../../policy/documents/recorded-path.ts';
import { lint } from '../../policy/lint.ts';
import type { CommandRun } from '../command.ts';
import { printRows } from '../output.ts';
import { policyText } from '../policy/explanation-text.ts';
import { snapshotOfOptions } from '../policy/ca-policies.ts';
import { recordedCallsOf } from '../policy/ca-calls.ts';

/** `countersign policy lint`: 1 when there is something to look at. */
export const lintPolicies: CommandRun = async (invocation) => {
  const snapshot = await snapshotOfOptions(invocation);
  const file = invocation.text('against');
  const recorded = file === undefined ? undefined : await recordedCallsOf(invocation, file);
  const findings = lint(snapshot, recorded === undefined ? {} : { calls: withUncertainPaths(recorded, [snapshot]) });
  const rows = findings.map(({ code, policy, rule, message }) => ({
    finding: code,
    policy: policyText(policy),
    rule,
    message,
  }));
  await printRows(invocation, rows);
  const problems = [...snapshot.policies.values()].flatMap((policy) => policy.problems);
  return findings.length + problems.length === 0 ? 0 : 1;
};
