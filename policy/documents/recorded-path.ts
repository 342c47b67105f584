// A recorded path with variables stands for many paths.
import type { CompiledPolicy } from '../compile/policy.ts';
import type { Snapshot } from '../compile/snapshot.ts';
import type { Destination } from '../model.ts';
import type { PathClause } from '../resources/operation-clause.ts';
import type { RuleSpec } from '../resources/policy-spec.ts';
import type { RecordedCall } from '../simulate.ts';

const VARIABLE = /^\{[^{}]*\}$/;

/**
 * Marks the path as not recorded in each call whose path template (`/orders/{id}`) stands for paths that a rule about its destination tells apart,
 * such as by `exact: /orders/7`; then the verdict is unknown where it depends on the path.
 */
export function withUncertainPaths(calls: Iterable<RecordedCall>, snapshots: readonly Snapshot[]): readonly RecordedCall[] {
  return [...calls].map((recorded) => {
    const { request, destination, unrecorded = [] } = recorded.call;
    if (request === undefined || !request.path.split('/').some((each) => VARIABLE.test(each))) return recorded;
    const policies = snapshots.flatMap((snapshot) => policiesAbout(snapshot, destination));
    const isCertain = policies.every(({ source }) => source.rules.every((rule) => isUniform(rule, request.path)));
    if (isCertain) return recorded;
    return { ...recorded, call: { ...recorded.call, unrecorded: new Set([...unrecorded, 'request.path' as const]) } };
  });
}

/** The policies that select a destination. */
export function policiesAbout(snapshot: Snapshot, destination: Destination): readonly CompiledPolicy[] {
  return snapshot.viewFor(destination).policies;
}

/** Whether a rule says the same of every path that a template stands for. */
export function isUniform({ to = [], when, relations = [] }: RuleSpec, path: string): boolean {
  if (when?.includes('request.path') || relations.some((each) => JSON.stringify(each).includes('{path.'))) return false;
  const clauses = to.flatMap(({ paths = [], not }) => [...paths, ...(not?.paths ?? [])]);
  return clauses.every((clause) => holdsForAllOrNone(clause, path));
}

/** Whether a clause says the same of every path that a recorded template stands for. */
export function holdsForAllOrNone({ exact, prefix, suffix, template }: PathClause, recorded: string): boolean {
  const segments = segmentsOf(recorded);
  if (exact !== undefined) return segments.length !== segmentsOf(exact).length || !meetsVariable(segments, segmentsOf(exact));
  if (prefix !== undefined) return segments.length < segmentsOf(prefix).length || !meetsVariable(segments, segmentsOf(prefix));
  if (template !== undefined) return templateIsUniform(segments, segmentsOf(template));
  if (suffix === undefined) return false;
  const tail = recorded.slice(recorded.lastIndexOf('}') + 1);
  return tail.length >= suffix.length || !suffix.endsWith(tail);
}

function templateIsUniform(recorded: readonly string[], template: readonly string[]): boolean {
  const isOpen = template.at(-1)?.endsWith('=**}') ?? false;
  const fits = isOpen ? recorded.length >= template.length : recorded.length === template.length;
  return !fits || !meetsVariable(recorded, template);
}

/** Whether the outcome hangs on a variable of the recording: all that is written on both sides is equal. */
function meetsVariable(recorded: readonly string[], written: readonly string[]): boolean {
  const pairs = written.map((text, index) => ({ text, other: recorded[index] ?? '' })).filter(({ text }) => !isVariable(text));
  const isPossible = pairs.every(({ text, other }) => VARIABLE.test(other) || other === text);
  return isPossible && pairs.some(({ other }) => VARIABLE.test(other));
}

const isVariable = (text: string): boolean => text.startsWith('{') && text.endsWith('}');
const segmentsOf = (path: string): readonly string[] => path.split('/').filter((each) => each !== '');
