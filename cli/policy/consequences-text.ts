import type { Simulated } from '../../policy/simulate.ts';
import type { Change } from '../../policy/simulate.ts';
import { callText } from './call-files.ts';
import { policyText } from './explanation-text.ts';

/** Changes by what would become of them. */
export interface ChangedCalls {
  readonly denied: readonly Change[];
  readonly allowed: readonly Change[];
  readonly unknown: readonly Change[];
  /** How many there are in all, where not all are listed. */
  readonly totals?: { readonly denied: number; readonly allowed: number; readonly unknown: number };
}

/** Changed calls for people. */
export function consequencesText({ denied, allowed, unknown, totals }: ChangedCalls): string {
  const sections = [
    section('would be denied', denied, totals?.denied),
    section('unknown: it depends on what was not recorded', unknown, totals?.unknown),
    section('would be allowed', allowed, totals?.allowed),
  ].join('');
  return sections === '' ? 'no recorded call would be decided otherwise\n' : sections;
}

function section(title: string, changes: readonly Change[], total = changes.length): string {
  if (total === 0) return '';
  const more = total > changes.length ? `  and ${total - changes.length} more that were seen less often\n` : '';
  const lines = changes.map(({ recorded, before, after }) => {
    const times = `${recorded.count} ${recorded.count === 1 ? 'time' : 'times'}, last ${lastSeen(recorded.lastSeenAtMs)}`;
    return `  ${callText(recorded.call)} (${times})\n    ${before.verdict} -> ${after.verdict}: ${whyText(after)}\n`;
  });
  return `${title}: ${total}\n${lines.join('')}${more}`;
}

function whyText({ reason, policy, rule }: Simulated): string {
  return policy === undefined ? reason : `${reason}, rule ${rule} of ${policyText(policy)}`;
}

/** Changed calls for programs. */
export function consequencesJson({ denied, allowed, unknown }: ChangedCalls): string {
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
