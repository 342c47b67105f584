import { systemClock } from '../../core/clock.ts';
import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { decide } from '../../policy/decide.ts';
import { explain } from '../../policy/explain.ts';
import { differences, parseExpectedDecisions, type ExpectedDecision } from '../../policy/documents/expected-decisions.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { explanationText } from '../policy/explanation-text.ts';
import { inFile } from '../policy/named-faults.ts';
import { snapshotOfOptions } from '../policy/ca-policies.ts';
import { documentOf } from '../policy/yaml-documents.ts';

/** `countersign policy test`: 0 when every call is decided as expected, and no operation is one for nobody or everybody; else 1. */
export const testPolicies: CommandRun = async (invocation) => {
  const { positionals, command } = invocation;
  const hasDescription = invocation.text('openapi') !== undefined;
  if (positionals.length === 0 && !hasDescription)
    throw usage(command, 'name at least one FILE of expected decisions, or --openapi FILE');
  if (hasDescription && positionals.length > 0 && invocation.text('output') === 'json') {
    throw usage(command, '--output json is for --openapi alone');
  }
  const snapshot = await snapshotOfOptions(invocation);
  const failed = positionals.length === 0 ? 0 : await testDecisions(invocation, snapshot);
  const found = hasDescription ? await (await import('./policy-test-openapi.ts')).testOpenApi(invocation, snapshot) : 0;
  return failed + found === 0 ? 0 : 1;
};

/** How many calls are decided otherwise. */
async function testDecisions(invocation: Invocation, snapshot: Snapshot): Promise<number> {
  const { terminal, positionals } = invocation;
  let [passed, failed] = [0, 0];
  for (const file of positionals) {
    const document = await documentOf(await readFileOrInput(invocation, file), file);
    const expectations = inFile(file, () => parseExpectedDecisions(document, systemClock.nowMs()));
    for (const [index, expected] of expectations.entries()) {
      const found = differences(expected, decide(snapshot, expected.call));
      const title = `${file} calls[${index}]${titleOf(expected)}`;
      if (found.length === 0) {
        passed += 1;
        terminal.write(`pass  ${title}\n`);
      } else {
        failed += 1;
        terminal.write(`FAIL  ${title}: ${found.join('; ')}\n${indented(explanationText(explain(snapshot, expected.call)))}`);
      }
    }
  }
  terminal.write(`${passed} passed, ${failed} failed\n`);
  return failed;
}

function titleOf({ name }: ExpectedDecision): string {
  return name === undefined ? '' : ` (${name})`;
}

function indented(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '      ');
}
