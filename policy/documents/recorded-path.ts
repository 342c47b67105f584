// A recorded path with variables stands for many paths.
import { withoutSlash } from '../compile/operation-literals.ts';
import type { CompiledPolicy } from '../compile/policy.ts';
import type { Snapshot } from '../compile/snapshot.ts';
import { policiesAbout } from '../judgement.ts';
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
  const byDestination = new Map<Destination, PathTests>();
  return [...calls].map((recorded) => {
    const { destination } = recorded.call;
    const policies = (snapshot: Snapshot) => policiesAbout(snapshot, destination, recorded.lacksSelectors);
    const tests = byDestination.get(destination) ?? new PathTests(snapshots.flatMap(policies));
    byDestination.set(destination, tests);
    return tests.mark(recorded);
  });
}

/** What the policies about one destination ask of paths. */
export class PathTests {
  readonly #policies: readonly CompiledPolicy[];
  /** Taken apart when the first path with a variable comes. */
  #tests: readonly Uniformity[] | undefined;

  constructor(policies: readonly CompiledPolicy[]) {
    this.#policies = policies;
  }

  /** The call as it is, or with its path marked as not recorded: see {@link withUncertainPaths}. */
  mark(recorded: RecordedCall): RecordedCall {
    const { request, unrecorded = [] } = recorded.call;
    if (request === undefined || !request.path.includes('{')) return recorded;
    const path = readPath(request.path);
    if (!path.variables.includes(true)) return recorded;
    this.#tests ??= pathTests(this.#policies);
    if (this.#tests.every((test) => test(path))) return recorded;
    return { ...recorded, call: { ...recorded.call, unrecorded: new Set([...unrecorded, 'request.path' as const]) } };
  }
}

/** Whether a rule says the same of every path that a template stands for. */
export function isUniform(rule: RuleSpec, path: string): boolean {
  const read = readPath(path);
  return !readsPath(rule) && clausesOf(rule).every((clause) => clauseUniformity(clause)(read));
}

/** Whether a clause says the same of every path that a recorded template stands for. */
export function holdsForAllOrNone(clause: PathClause, recorded: string): boolean {
  return clauseUniformity(clause)(readPath(recorded));
}

/** A recorded path, taken apart once. */
interface ReadPath {
  readonly segments: readonly string[];
  /** Which of the segments stand for any. */
  readonly variables: readonly boolean[];
  /** What is written after the last variable. */
  readonly tail: string;
}

type Uniformity = (path: ReadPath) => boolean;

function readPath(text: string): ReadPath {
  const segments = segmentsOf(text);
  const variables = segments.map((each) => VARIABLE.test(each));
  return { segments, variables, tail: text.slice(text.lastIndexOf('}') + 1) };
}

const NEVER: readonly Uniformity[] = [() => false];

/** Policies say the same of all paths when each of these does. What several of them write is asked once. */
function pathTests(policies: readonly CompiledPolicy[]): readonly Uniformity[] {
  const clauses = new Map<string, PathClause>();
  for (const rule of policies.flatMap(({ source }) => source.rules)) {
    if (readsPath(rule)) return NEVER;
    for (const clause of clausesOf(rule)) clauses.set(textOf(clause), clause);
  }
  return [...clauses.values()].map(clauseUniformity);
}

function textOf({ exact, prefix, suffix, template }: PathClause): string {
  if (exact !== undefined) return `exact ${exact}`;
  if (prefix !== undefined) return `prefix ${prefix}`;
  if (template !== undefined) return `template ${template}`;
  // Of regular expressions nothing is known.
  return suffix === undefined ? 'regex' : `suffix ${suffix}`;
}

function readsPath({ when, relations = [] }: RuleSpec): boolean {
  return (when?.includes('request.path') ?? false) || relations.some((each) => JSON.stringify(each).includes('{path.'));
}

function clausesOf({ to = [] }: RuleSpec): readonly PathClause[] {
  return to.flatMap(({ paths = [], not }) => [...paths, ...(not?.paths ?? [])]);
}

function clauseUniformity({ exact, prefix, suffix, template }: PathClause): Uniformity {
  if (exact !== undefined) return fixedUniformity(exact, (count, own) => count === own);
  if (prefix !== undefined) return fixedUniformity(prefix, (count, own) => count >= own);
  if (template !== undefined) {
    const isOpen = segmentsOf(template).at(-1)?.endsWith('=**}') ?? false;
    return fixedUniformity(template, isOpen ? (count, own) => count >= own : (count, own) => count === own);
  }
  if (suffix === undefined) return () => false;
  const end = withoutSlash(suffix);
  return ({ tail }) => tail.length >= end.length || !end.endsWith(tail);
}

/** `fits`: whether a path with so many segments may be meant by one that is written with so many. */
function fixedUniformity(written: string, fits: (count: number, own: number) => boolean): Uniformity {
  const segments = segmentsOf(written);
  const fixed = segments.map((text, index) => ({ text, index })).filter(({ text }) => !isVariable(text));
  return (path) => !fits(path.segments.length, segments.length) || !meetsVariable(path, fixed);
}

/** Whether the outcome hangs on a variable of the recording: all that is written on both sides is equal. */
function meetsVariable({ segments, variables }: ReadPath, fixed: readonly { text: string; index: number }[]): boolean {
  let meets = false;
  for (const { text, index } of fixed) {
    if (variables[index] === true) meets = true;
    else if (segments[index] !== text) return false;
  }
  return meets;
}

const isVariable = (text: string): boolean => text.startsWith('{') && text.endsWith('}');
const segmentsOf = (path: string): readonly string[] => path.split('/').filter((each) => each !== '');
