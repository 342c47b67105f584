import { IdentityError } from '../../core/errors.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
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
  for (const policy of policies) checkFits(policy);
  terminal.write(policies.map((each) => stringify(each)).join('---\n'));
  for (const { call, count } of left) {
    terminal.writeError(`not covered, because caller, destination or path has no name: ${callText(call)} (${count} times)\n`);
  }
  return 0;
};

/** More callers or paths than a policy may have are a matter for a person: the narrowest policy is not the one wanted there. */
function checkFits(policy: object): void {
  try {
    parsePolicy(policy);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('failed_precondition', `too much was recorded for one policy; write it by hand:\n${why}`, { cause });
  }
}
