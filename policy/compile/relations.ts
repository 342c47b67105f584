import { parsePathTemplate, fitsTemplate, variablesOf } from '../match/path-template.ts';
import type { PathTemplate, TemplateSegment } from '../match/path-template.ts';
import type { Call, RelationQuery } from '../model.ts';
import type { RuleSpec } from '../resources/policy-spec.ts';
import { NO, UNKNOWN, YES } from './tri.ts';
import type { Bias, Tri } from './tri.ts';

/** The key of a query in `Call.relations`. */
export function relationKey({ user, relation, object }: RelationQuery): string {
  return JSON.stringify([user, relation, object]);
}

/** What the relations of a rule come to for a call. */
export interface RelationsTest {
  /** The queries of this call; undefined where a placeholder has no value. */
  readonly queries: (call: Call) => readonly RelationQuery[] | undefined;
  readonly test: (call: Call) => Tri;
}

/** Reads the relations of a rule. Unanswered ones count as the bias says, except in a recording, which has no answers. */
export function relationsTest({ relations = [], to = [] }: RuleSpec, bias: Bias): RelationsTest {
  const templates = to.flatMap(({ paths = [] }) => paths).map(({ template }) => parsePathTemplate(template ?? ''));
  const known = templates.filter((template) => template !== undefined);
  const queries = (call: Call): readonly RelationQuery[] | undefined => {
    const values = placeholders(call, known);
    const filled = relations.map(({ user, relation, object }) => ({
      user: fill(user, values),
      relation,
      object: fill(object, values),
    }));
    return filled.every(isComplete) ? filled : undefined;
  };
  return { queries, test: (call) => judge(call, queries(call), bias) };
}

/** Variables of paths that no path template of the rule has: such a relation can never be asked for. */
export function relationProblems({
  relations = [],
  to = [],
}: RuleSpec): readonly { readonly path: string; readonly message: string }[] {
  const templates = to.flatMap(({ paths = [] }) => paths).map(({ template = '' }) => parsePathTemplate(template));
  const variables = new Set(templates.flatMap((template) => template?.segments.flatMap(nameOf) ?? []));
  return relations.flatMap((relation, index) =>
    (['user', 'object'] as const).flatMap((field) =>
      [...relation[field].matchAll(/\{path\.([A-Za-z0-9_]+)\}/g)]
        .filter(([, name = '']) => !variables.has(name))
        .map(([whole, name]) => ({
          path: `relations[${index}].${field}`,
          message: `no path template of the rule has a variable {${name}}, so ${whole} is never filled in`,
        })),
    ),
  );
}

function nameOf(segment: TemplateSegment): readonly string[] {
  return segment.kind === 'literal' ? [] : [segment.name];
}

function judge(call: Call, queries: readonly RelationQuery[] | undefined, bias: Bias): Tri {
  // What a recording lacks may have been what a placeholder asks for.
  if (queries === undefined) return call.unrecorded === undefined ? bias : UNKNOWN;
  const answers = queries.map((query) => call.relations?.get(relationKey(query)));
  if (answers.includes(false)) return NO;
  if (!answers.includes(undefined)) return YES;
  return call.unrecorded === undefined ? bias : UNKNOWN;
}

function isComplete(query: {
  readonly user: string | undefined;
  readonly object: string | undefined;
  readonly relation: string;
}): query is RelationQuery {
  return query.user !== undefined && query.object !== undefined;
}

function fill(template: string, values: ReadonlyMap<string, string>): string | undefined {
  let isComplete = true;
  const filled = template.replaceAll(/\{([A-Za-z0-9_.]+)\}/g, (_whole, name: string) => {
    const value = values.get(name);
    // `user:*` is everyone and `#` begins a userset: a caller must not name them.
    isComplete &&= value !== undefined && !/[\s#*]/.test(value);
    return value ?? '';
  });
  return isComplete ? filled : undefined;
}

function placeholders(
  { source, destination, request, user }: Call,
  templates: readonly PathTemplate[],
): ReadonlyMap<string, string> {
  const path = request?.path ?? '';
  const template = templates.find((each) => fitsTemplate(each, path));
  const variables = template === undefined ? {} : variablesOf(template, path);
  const values: readonly (readonly [string, string | undefined])[] = [
    ['source.spiffeID', source.spiffeId?.toString()],
    ['source.namespace', source.namespace],
    ['source.serviceAccount', source.serviceAccount],
    ['destination.spiffeID', destination.spiffeId?.toString()],
    ['destination.namespace', destination.namespace],
    ['user.subject', user?.subject],
    ['user.issuer', user?.issuer],
    ['request.method', request?.method],
    ...Object.entries(variables).map(([name, value]) => [`path.${name}`, value] as const),
  ];
  return new Map(values.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])));
}
