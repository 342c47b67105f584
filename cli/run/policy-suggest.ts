import { suggest } from '../../policy/suggest.ts';
import { usage, type CommandRun } from '../command.ts';
import { recordedCallsOf } from '../policy/ca-calls.ts';
import { callText } from '../policy/call-files.ts';

/** `countersign policy suggest`: YAML on standard output, what no policy can name on standard error. */
export const suggestPolicies: CommandRun = async (invocation) => {
  const { terminal } = invocation;
  const [from, file] = [invocation.text('from'), invocation.text('calls')];
  if (from !== undefined && file !== undefined) throw usage(invocation.command, 'give either --from or --calls');
  const { policies, left } = suggest(await recordedCallsOf(invocation, from ?? file ?? 'recorded'));
  const { stringify } = await import('../../runtime/yaml.ts');
  terminal.write(policies.map((each) => stringify(each)).join('---\n'));
  for (const { call, count } of left.slice(0, MOST_LEFT)) {
    const times = `${count} ${count === 1 ? 'time' : 'times'}`;
    terminal.writeError(`not covered, because caller, destination or path has no name: ${callText(call)} (${times})\n`);
  }
  if (left.length > MOST_LEFT) terminal.writeError(`and ${left.length - MOST_LEFT} more kinds of calls are not covered\n`);
  return 0;
};

/** Calls without a name that are listed. */
const MOST_LEFT = 20;
