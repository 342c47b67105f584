import { IdentityError } from '../../core/errors.ts';
import type { Condition, Expressions } from '../expressions/expressions.ts';
import type { Call, CallField } from '../model.ts';
import type { OperationClause } from '../resources/operation-clause.ts';
import type { RuleSpec } from '../resources/policy-spec.ts';
import type { SourceClause } from '../resources/source-clause.ts';
import { isUnseen, literal } from './literal.ts';
import type { Literal } from './literal.ts';
import { operationMatchers } from './operation-literals.ts';
import { relationProblems, relationsTest } from './relations.ts';
import type { RelationsTest } from './relations.ts';
import type { FieldMatcher } from './source-literals.ts';
import { sourceMatchers } from './source-literals.ts';
import { allOf, anyOf, NO, UNKNOWN, YES } from './tri.ts';
import type { Bias, Test, Tri } from './tri.ts';

/** A clause: all of its literals must hold. */
export interface Clause {
  readonly path: string;
  readonly literals: readonly Literal[];
  readonly test: Test;
}

/** A rule as tests, in parts so that it can be explained. */
export interface RuleTests {
  /** None: the rule is about every caller. */
  readonly from: readonly Clause[];
  readonly to: readonly Clause[];
  readonly when: Literal | undefined;
  readonly relations: RelationsTest | undefined;
  /** All of it without the relations. */
  readonly testWithoutRelations: Test;
  readonly test: Test;
  /** What cannot be compiled, by where it is written. Such a part counts as the bias says. */
  readonly problems: readonly Problem[];
}

/** A part of a policy that cannot be compiled. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** What compiling a rule needs to know of its policy. */
export interface RuleContext {
  readonly bias: Bias;
  readonly namespace: string;
  readonly expressions: Expressions;
}

/** Compiles a rule. */
export function compileRule(spec: RuleSpec, context: RuleContext): RuleTests {
  const problems: Problem[] = [];
  const from = (spec.from ?? []).map((clause, index) => sourceClauseOf(clause, `from[${index}]`, context));
  const to = (spec.to ?? []).map((clause, index) => operationClauseOf(clause, `to[${index}]`, context, problems));
  const when = spec.when === undefined ? undefined : whenLiteral(spec.when, context, problems);
  problems.push(...relationProblems(spec));
  const relations = spec.relations === undefined ? undefined : relationsTest(spec, context.bias);
  const testWithoutRelations = allOf([
    ...(from.length === 0 ? [] : [anyOf(from.map(({ test }) => test))]),
    ...(to.length === 0 ? [] : [anyOf(to.map(({ test }) => test))]),
    ...(when === undefined ? [] : [when.test]),
  ]);
  const test = relations === undefined ? testWithoutRelations : allOf([testWithoutRelations, relations.test]);
  return { from, to, when, relations, testWithoutRelations, test, problems };
}

function sourceClauseOf({ not, ...fields }: SourceClause, path: string, { bias, namespace }: RuleContext): Clause {
  return clauseOf(path, bias, sourceMatchers(fields, namespace), not === undefined ? [] : sourceMatchers(not, namespace));
}

function operationClauseOf({ not, ...fields }: OperationClause, path: string, context: RuleContext, problems: Problem[]): Clause {
  const { bias, expressions } = context;
  let part = path;
  try {
    const positive = operationMatchers(fields, expressions);
    // A fault says where it is, below `path`.
    part = `${path}.not`;
    return clauseOf(path, bias, positive, not === undefined ? [] : operationMatchers(not, expressions));
  } catch (error) {
    problems.push(problemOf(part, error));
    return { path, literals: [], test: () => bias };
  }
}

function clauseOf(path: string, bias: Bias, positive: readonly FieldMatcher[], negative: readonly FieldMatcher[]): Clause {
  const literals = [
    ...positive.map(([name, field, matches]) => literal({ path: `${path}.${name}`, field, isNegated: false, matches, bias })),
    ...negative.map(([name, field, matches]) => literal({ path: `${path}.not.${name}`, field, isNegated: true, matches, bias })),
  ];
  return { path, literals, test: allOf(literals.map(({ test }) => test)) };
}

function whenLiteral(text: string, { bias, expressions }: RuleContext, problems: Problem[]): Literal {
  try {
    const condition = expressions.condition(text);
    return { path: 'when', field: fieldOf(condition), test: conditionTest(condition, bias) };
  } catch (error) {
    problems.push(problemOf('when', error));
    return { path: 'when', field: 'request.headers', test: () => bias };
  }
}

/** The part of a call that it is about: the first of the request, which connections do not show, else any. */
function fieldOf({ fields }: Condition): CallField {
  const list = [...fields];
  return list.find((field) => field.startsWith('request.') || field === 'user') ?? list[0] ?? 'source.spiffeId';
}

// A condition that fails, as over a claim that is not there, can no more be judged than one over what cannot be seen.
function conditionTest({ fields, holds }: Condition, bias: Bias): Test {
  const list: readonly CallField[] = [...fields];
  return (call: Call): Tri => {
    if (call.unrecorded !== undefined && list.some((field) => call.unrecorded?.has(field))) return UNKNOWN;
    if (list.some((field) => isUnseen(call, field))) return bias;
    const result = holds(call);
    return result === undefined ? bias : result ? YES : NO;
  };
}

function problemOf(path: string, error: unknown): Problem {
  // Expressions that were not loaded are a fault of the caller, not of the policy.
  if (!(error instanceof IdentityError) || error.code === 'failed_precondition') throw error;
  const { field, message } = error;
  if (field === undefined) return { path, message };
  return { path: `${path}.${field}`, message: message.slice(`${field}: `.length) };
}
