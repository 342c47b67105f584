import { compile } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { callOf } from './table-types.ts';
import type { Row } from './table-types.ts';

const expressions = await loadAllExpressions();

/**
 * What resources decide of calls: rows, or lines `CALLER REQUEST: VERDICT`. The same lines come back, with what was decided as verdicts.
 *
 * @param defaultAction `deny` unless given
 */
export function verdictsOf(
  resources: readonly object[],
  calls: string | readonly Row[],
  defaultAction: 'allow' | 'deny' = 'deny',
): string {
  const snapshot = compile(resources.map(parsePolicy), { defaultAction, expressions });
  const rows = typeof calls === 'string' ? rowsOf(calls) : calls;
  return rows.map((row) => `${row[0]} ${row[1]}: ${decide(snapshot, callOf(row)).verdict}`).join('\n');
}

function rowsOf(text: string): readonly Row[] {
  const lines = text.trim().split('\n');
  return lines.map((line) => {
    const [, caller = '', request = ''] = /^\s*(\S+) (.*): \w+$/.exec(line) ?? [];
    // The cast is sound: a caller that is none fails the test.
    return [caller, request, ''] as unknown as Row;
  });
}
