import { Environment } from '@marcbachmann/cel-js';
import type { ParseResult } from '@marcbachmann/cel-js';
import { IdentityError } from '../../core/errors.ts';
import { formatIpAddress } from '../match/ip.ts';
import type { Call, CallField, Request } from '../model.ts';
import type { Json } from '../schema/json.ts';
import { examine, MAX_LIST } from './cel-cost.ts';
import type { Condition } from './expressions.ts';
import { readingsOf } from './readings.ts';
import { compileSearch } from './re2.ts';

const MAX_LENGTH = 2048;
/** What `matches` is called inside: the library's own runs JavaScript's backtracking expressions. */
const SAFE_MATCHES = 'matchesInLinearTime';

/** The tests of the literals given to `matches`, by their text. Bounded by what the policies have, and cleared when too many were seen. */
const regexes = new Map<string, (text: string) => boolean>();
const MAX_REGEXES = 10_000;

const environment = new Environment({
  limits: { maxAstNodes: 500, maxDepth: 32, maxListElements: 128, maxMapEntries: 32, maxCallArguments: 4 },
})
  .registerVariable({
    name: 'source',
    schema: { spiffeID: 'string', trustDomain: 'string', namespace: 'string', serviceAccount: 'string', address: 'string' },
  })
  .registerVariable({
    name: 'destination',
    schema: { spiffeID: 'string', trustDomain: 'string', namespace: 'string', serviceAccount: 'string', port: 'int' },
  })
  .registerVariable({
    name: 'request',
    schema: {
      method: 'string',
      host: 'string',
      path: 'string',
      headers: 'map<string, string>',
      grpc: { service: 'string', method: 'string' },
    },
  })
  .registerVariable({
    name: 'user',
    schema: { issuer: 'string', subject: 'string', claims: 'map<string, dyn>', actors: 'list<string>' },
  })
  .registerVariable('now', 'google.protobuf.Timestamp')
  .registerFunction(`string.${SAFE_MATCHES}(string): bool`, (text: string, regex: string) => regexOf(regex)(text));

function regexOf(text: string): (text: string) => boolean {
  const known = regexes.get(text);
  if (known !== undefined) return known;
  if (regexes.size >= MAX_REGEXES) regexes.clear();
  const compiled = compileSearch(text);
  regexes.set(text, compiled);
  return compiled;
}

/**
 * Compiles a condition: parsed, its types checked, its worst cost bounded (so that no deadline is needed while it runs).
 *
 * `source`, `destination`: `spiffeID`, `trustDomain`, `namespace`, `serviceAccount`, `address` (source), `port` (destination); `request`: `method`,
 * `host`, `path`, `headers`, `grpc`; `user`: `issuer`, `subject`, `claims`, `actors`; `now`. What is absent is a failure when read; `has()` asks.
 *
 * @throws IdentityError `invalid_argument`
 * @example
 * compileCondition('request.headers["x-tenant"] == "acme"').holds(call);
 */
export function compileCondition(text: string): Condition {
  if (text.length > MAX_LENGTH)
    throw new IdentityError('invalid_argument', `the condition is longer than ${MAX_LENGTH} characters`);
  const examined = examine(parse(text).ast);
  for (const { regex } of examined.matches) regexOf(regex);
  const program = parse(withSafeMatches(text, examined.matches));
  const checked = program.check();
  if (!checked.valid || (checked.type !== 'bool' && checked.type !== 'dyn')) {
    const why = checked.valid ? `is ${checked.type}, not true or false` : `has a wrong type: ${firstLine(checked.error)}`;
    throw new IdentityError('invalid_argument', `the condition ${why}`);
  }
  return { fields: examined.fields, holds: (call) => judgeReadings(program, call, examined.fields) };
}

function parse(text: string): ParseResult {
  try {
    return environment.parse(text);
  } catch (error) {
    throw new IdentityError('invalid_argument', `the condition is no CEL: ${firstLine(error)}`, { cause: error });
  }
}

function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : '';
}

/** The same text with the calls of `matches` renamed, the last first so that places stay right. */
function withSafeMatches(text: string, matches: readonly { readonly receiverEnd: number }[]): string {
  return [...matches]
    .sort((one, other) => other.receiverEnd - one.receiverEnd)
    .reduce((done, { receiverEnd }) => {
      const at = done.indexOf('matches', receiverEnd);
      return `${done.slice(0, at)}${SAFE_MATCHES}${done.slice(at + 'matches'.length)}`;
    }, text);
}

/** What all readings of the request agree upon; undefined where they do not, where one of them fails, or where there are too many. */
function judgeReadings(program: ParseResult, call: Call, fields: ReadonlySet<CallField>): boolean | undefined {
  const readings = call.request && readingsOf(call.request, fields);
  if (readings === undefined) return judge(program, call);
  const [first, ...others] = readings.map((request) => judge(program, { ...call, request }));
  return others.every((each) => each === first) ? first : undefined;
}

function judge(program: ParseResult, call: Call): boolean | undefined {
  try {
    const result: unknown = program(contextOf(call));
    return typeof result === 'boolean' ? result : undefined;
  } catch {
    return undefined;
  }
}

function contextOf({ source, destination, request, user, atMs }: Call): Record<string, unknown> {
  return {
    source: { ...workload(source), ...present('address', source.address && formatIpAddress(source.address)) },
    destination: {
      ...workload(destination),
      ...present('port', destination.port === undefined ? undefined : BigInt(destination.port)),
    },
    request: request === undefined ? {} : fieldsOf(request),
    user: user === undefined ? {} : { ...user, claims: bounded(user.claims), actors: user.actors.map(({ subject }) => subject) },
    now: new Date(atMs),
  };
}

function fieldsOf({ method, host, path, headers, grpc }: Request): Record<string, unknown> {
  return { method, host, path, headers, ...present('grpc', grpc) };
}

function workload({ spiffeId, namespace, serviceAccount }: Call['source']): Record<string, unknown> {
  return {
    ...(spiffeId === undefined ? {} : { spiffeID: spiffeId.toString(), trustDomain: spiffeId.trustDomain.name }),
    ...present('namespace', namespace),
    ...present('serviceAccount', serviceAccount),
  };
}

function present(name: string, value: unknown): Record<string, unknown> {
  return value === undefined ? {} : { [name]: value };
}

/** Claims with their lists within the bound that costs were computed with. */
function bounded(value: Json): Json {
  if (Array.isArray(value)) {
    if (value.length > MAX_LIST) throw new IdentityError('resource_exhausted', 'a list of the token is too long');
    return value.map(bounded);
  }
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value);
  if (entries.length > MAX_LIST) throw new IdentityError('resource_exhausted', 'an object of the token is too large');
  return Object.fromEntries(entries.map(([key, each]) => [key, bounded(each)]));
}
