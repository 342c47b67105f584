import { IdentityError } from '../../core/errors.ts';
import type { Expressions } from '../expressions/expressions.ts';
import { globTest } from '../match/glob.ts';
import { fitsTemplate, parsePathTemplate } from '../match/path-template.ts';
import type { TextTest } from '../match/glob.ts';
import type { GrpcCall, Request } from '../model.ts';
import type { GrpcClause, HeaderClause, OperationClause, PathClause } from '../resources/operation-clause.ts';
import { possibleGrpc } from '../normalize/grpc-path.ts';
import type { Matched, Matcher } from './literal.ts';
import type { FieldMatcher } from './source-literals.ts';
import { given } from './source-literals.ts';

/** The positive fields of a clause about what is asked for. */
export type OperationFields = Omit<OperationClause, 'not'>;

/** Matchers of the fields that a clause about the operation has. Headers give one each: all of them must hold. */
export function operationMatchers(clause: OperationFields, expressions: Expressions): FieldMatcher[] {
  const { ports, hosts, methods, paths, headers = [], grpc } = clause;
  return [
    ...given(ports, (ranges) => ['ports', 'destination.port', anyPort(ranges)]),
    ...given(hosts, (names) => ['hosts', 'request.host', ofRequest(({ host }, test) => test(host), anyOf(names.map(hostTest)))]),
    ...given(methods, (names) => ['methods', 'request.method', anyMethod(names)]),
    ...given(paths, (list) => ['paths', 'request.path', anyPath(list, expressions)]),
    ...headers.map((header, index): FieldMatcher => {
      const place = `headers[${index}]`;
      return [place, 'request.headers', naming(`${place}.regex`, () => headerMatcher(header, expressions))];
    }),
    ...given(grpc, (calls) => ['grpc', 'request.grpc', anyGrpc(calls)]),
  ];
}

/** Has the fault of an expression say where it is written. Nothing else of a clause can fail. */
function naming<T>(field: string, compile: () => T): T {
  try {
    return compile();
  } catch (cause) {
    if (!(cause instanceof IdentityError) || cause.code !== 'invalid_argument') throw cause;
    throw new IdentityError(cause.code, cause.message, { field, cause });
  }
}

function ofRequest<T>(judge: (request: Request, test: T) => Matched, test: T): Matcher {
  return ({ request }) => (request === undefined ? undefined : judge(request, test));
}

function anyOf(tests: readonly TextTest[]): TextTest {
  const [only, second] = tests;
  return only !== undefined && second === undefined ? only : (text) => tests.some((test) => test(text));
}

function anyPort(ranges: readonly string[]): Matcher {
  const bounds = ranges.map((range) => range.split('-').map(Number)).map(([first = 0, last = first]) => [first, last] as const);
  return ({ destination: { port } }) =>
    port === undefined ? undefined : bounds.some(([first, last]) => port >= first && port <= last);
}

function hostTest(pattern: string): TextTest {
  if (pattern === '*') return (host) => host !== '';
  const ending = pattern.startsWith('*') ? pattern.slice(1) : undefined;
  return ending === undefined ? (host) => host === pattern : (host) => host.length > ending.length && host.endsWith(ending);
}

function anyMethod(names: readonly string[]): Matcher {
  const set = new Set(names);
  return ({ request }) => (request === undefined ? undefined : set.has(request.method));
}

function anyPath(clauses: readonly PathClause[], expressions: Expressions): Matcher {
  const exact = new Set(clauses.flatMap((clause) => (clause.exact === undefined ? [] : [withoutSlash(clause.exact)])));
  const tests = clauses.flatMap((clause, index) =>
    clause.exact === undefined ? [naming(`paths[${index}].regex`, () => pathTest(clause, expressions))] : [],
  );
  const test = anyOf(tests);
  return ({ request }) => (request === undefined ? undefined : exact.has(request.path) || test(request.path));
}

/** Paths are compared without the slash at their end, for normalised ones have none. */
export function withoutSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

function pathTest({ prefix, suffix, template, regex }: PathClause, expressions: Expressions): TextTest {
  if (prefix !== undefined) return prefixTest(withoutSlash(prefix));
  if (suffix !== undefined) return suffixTest(withoutSlash(suffix));
  if (regex !== undefined) return expressions.regex(regex);
  const parsed = parsePathTemplate(withoutSlash(template ?? ''));
  return parsed === undefined ? () => false : (path) => fitsTemplate(parsed, path);
}

function prefixTest(prefix: string): TextTest {
  if (prefix === '/') return (path) => path.startsWith('/');
  return (path) => path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/');
}

function suffixTest(suffix: string): TextTest {
  return (path) => path.endsWith(suffix);
}

function headerMatcher({ name, present, exact, prefix, suffix, regex }: HeaderClause, expressions: Expressions): Matcher {
  const key = name.toLowerCase();
  if (present !== undefined) return ofRequest(({ headers }) => headers.has(key) === present, undefined);
  const test: TextTest =
    exact !== undefined
      ? (value) => value === exact
      : prefix !== undefined
        ? (value) => value.startsWith(prefix)
        : suffix !== undefined
          ? (value) => value.endsWith(suffix)
          : expressions.regex(regex ?? '');
  return ofRequest(({ headers, repeated }) => {
    const value = headers.get(key);
    if (value === undefined) return false;
    // One program reads bytes beyond ASCII as Latin-1, another one as UTF-8.
    if (!ASCII.test(value)) return 'unclear';
    const values = repeated?.get(key);
    return values === undefined ? test(value) : ofAll([value, ...values], test);
  }, undefined);
}

const ASCII = /^[\t -~]*$/;

/** What all readings of a text agree upon. */
function ofAll([first = '', ...others]: readonly string[], test: TextTest): Matched {
  const matched = test(first);
  return others.every((each) => test(each) === matched) ? matched : 'unclear';
}

function anyGrpc(clauses: readonly GrpcClause[]): Matcher {
  const tests = clauses.map(({ service = '*', method = '*' }) => ({ isService: globTest(service), isMethod: globTest(method) }));
  const isMeant = (grpc: GrpcCall): boolean =>
    tests.some(({ isService, isMethod }) => isService(grpc.service) && isMethod(grpc.method));
  return ({ request }) => {
    if (request === undefined) return undefined;
    if (request.grpc !== undefined) return isMeant(request.grpc);
    const possible = possibleGrpc(request);
    return possible !== undefined && isMeant(possible) ? 'unclear' : false;
  };
}
