import { consequencesOf, type Consequences } from '../../policy/documents/affected-calls.ts';
import { loadExpressions } from '../../policy/expressions/load.ts';
import type { Change } from '../../policy/simulate.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { callText, readRecordedCalls } from '../policy/call-files.ts';
import { policyText } from '../policy/explanation-text.ts';
import { readPolicies, snapshotOf, warn } from '../policy/policy-files.ts';

/** `countersign policy simulate`: 1 when something that was allowed would be denied, or may be. */
export const simulatePolicies: CommandRun = async (invocation) => {
  const format = invocation.text('output') ?? 'text';
  if (format !== 'text' && format !== 'json') throw usage(invocation.command, `--output ${format} is unknown; use text or json`);
  const consequences = await consequencesOfOptions(invocation);
  const text = format === 'json' ? jsonOf(consequences) : textOf(consequences);
  invocation.terminal.write(text);
  return consequences.isHarmless ? 0 : 1;
};

async function consequencesOfOptions(invocation: Invocation): Promise<Consequences> {
  const calls = await readRecordedCalls(invocation, invocation.requiredText('against'));
  const current = await readPolicies(invocation, invocation.texts('policies'));
  const changed = await readPolicies(invocation, invocation.texts('file'));
  const expressions = await loadExpressions([...current, ...changed]);
  const before = snapshotOf(invocation, current, expressions);
  const after = before.with({ set: changed });
  warn(invocation, after);
  return consequencesOf({ before, after, calls, countsDryRun: invocation.flag('count-dry-run') });
}

function textOf({ denied, allowed, unknown }: Consequences): string {
  const sections = [
    section('would be denied', denied),
    section('unknown: it depends on what was not recorded', unknown),
    section('would be allowed', allowed),
  ].join('');
  return sections === '' ? 'no recorded call would be decided otherwise\n' : sections;
}

function section(title: string, changes: readonly Change[]): string {
  if (changes.length === 0) return '';
  const lines = changes.map(({ recorded, before, after }) => {
    const times = `${recorded.count} ${recorded.count === 1 ? 'time' : 'times'}, last ${lastSeen(recorded.lastSeenAtMs)}`;
    const rule = after.policy === undefined ? after.reason : `${after.reason}, rule ${after.rule} of ${policyText(after.policy)}`;
    return `  ${callText(recorded.call)} (${times})\n    ${before.verdict} -> ${after.verdict}: ${rule}\n`;
  });
  return `${title}: ${changes.length}\n${lines.join('')}`;
}

function jsonOf({ denied, allowed, unknown }: Consequences): string {
  const written = (changes: readonly Change[]): object[] =>
    changes.map(({ recorded: { call, count, lastSeenAtMs }, before, after }) => ({
      call: callText(call),
      count,
      lastSeen: lastSeen(lastSeenAtMs),
      before,
      after,
    }));
  const sections = { denied: written(denied), unknown: written(unknown), allowed: written(allowed) };
  return `${JSON.stringify(sections, undefined, 2)}\n`;
}

function lastSeen(atMs: number): string {
  return new Date(atMs).toISOString().replace('.000Z', 'Z');
}
