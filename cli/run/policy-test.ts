import { systemClock } from '../../core/clock.ts';
import { decide } from '../../policy/decide.ts';
import { explain } from '../../policy/explain.ts';
import { differences, parseExpectedDecisions, type ExpectedDecision } from '../../policy/documents/expected-decisions.ts';
import { usage, type CommandRun } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { explanationText } from '../policy/explanation-text.ts';
import { inFile } from '../policy/named-faults.ts';
import { snapshotOfOptions } from '../policy/ca-policies.ts';
import { documentOf } from '../policy/yaml-documents.ts';

/** `countersign policy test`: 0 when every call is decided as expected, else 1. */
export const testPolicies: CommandRun = async (invocation) => {
  const { terminal, positionals, command } = invocation;
  if (positionals.length === 0) throw usage(command, 'name at least one FILE of expected decisions');
  const snapshot = await snapshotOfOptions(invocation);
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
  return failed === 0 ? 0 : 1;
};

function titleOf({ name }: ExpectedDecision): string {
  return name === undefined ? '' : ` (${name})`;
}

function indented(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '      ');
}
