import { array, boolean, decode, DecodeError, integer, literal, map, object, optional, string } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import type { CallField, Destination, Request, RuleReference, Source } from '../model.ts';
import { normalizePath } from '../normalize/path.ts';
import type { NormalizedPath } from '../normalize/path.ts';
import { REFUSALS, RefusedRequest } from '../normalize/refusal.ts';
import type { Refusal } from '../normalize/refusal.ts';
import { normalizeHost } from '../normalize/host.ts';
import { isRecordedPath } from '../path-inference.ts';
import type { RecordedCall } from '../simulate.ts';
import { destinationField, sourceField } from './call-fields.ts';

const normalized = <T>(normalize: (text: string) => T) =>
  map(string(), (text) => {
    try {
      return normalize(text);
    } catch (error) {
      if (!(error instanceof RefusedRequest)) throw error;
      throw new IdentityError('invalid_argument', `must be as a recording has it, is ambiguous (${error.refusal})`);
    }
  });

const time = map(string(), (text) => {
  const atMs = Date.parse(text);
  if (Number.isNaN(atMs)) throw new IdentityError('invalid_argument', 'must be a time such as 2026-01-31T12:00:00Z');
  return atMs;
});

const rule = object({
  policy: object({
    kind: literal('AuthorizationPolicy', 'ClusterAuthorizationPolicy'),
    namespace: optional(string({ allowEmpty: true }), ''),
    name: string(),
  }),
  rule: integer({ min: 0 }),
});

const line = object({
  source: sourceField,
  destination: destinationField,
  method: optional(string({ allowEmpty: true })),
  path: optional(normalized(normalizePath)),
  host: optional(normalized(normalizeHost)),
  grpc: optional(object({ service: string(), method: string() })),
  refused: optional(literal(...REFUSALS)),
  verdict: literal('allow', 'deny'),
  mixed: optional(boolean, false),
  rules: optional(array(rule), []),
  count: integer({ min: 1 }),
  lastSeen: time,
});

/**
 * Reads recorded calls, one JSON object in each line: source, destination, method, path template, host, verdict, rules, count, lastSeen.
 * Equal destinations become one object, which the engine works out once.
 *
 * @throws DecodeError that names the line and the field of every fault
 */
export function parseRecordedCalls(text: string): readonly RecordedCall[] {
  const destinations = new Map<string, Destination>();
  const calls: RecordedCall[] = [];
  const faults: { path: string; message: string }[] = [];
  for (const [index, each] of text.split('\n').entries()) {
    if (each.trim() === '') continue;
    try {
      const value = parseLine(each);
      const written: unknown = Reflect.get(value, 'destination') ?? null;
      const key = JSON.stringify(written);
      const { mixed: isMixed, rules: decidedBy, ...parts } = decode(line, value);
      const destination = destinations.get(key) ?? parts.destination;
      destinations.set(key, destination);
      const lacksSelectors = !saysSelectors(written);
      calls.push(recordedCallOf({ ...parts, ...methodOf(parts.method), destination, isMixed, decidedBy, lacksSelectors }));
    } catch (error) {
      faults.push(...faultsOf(error, index + 1));
    }
  }
  if (faults.length > 0) throw new DecodeError(faults);
  return calls;
}

/** A line without them says nothing of them; an empty list says that there are none. */
function saysSelectors(destination: unknown): boolean {
  return typeof destination === 'object' && destination !== null && ('selectors' in destination || 'labels' in destination);
}

/** An empty method: it was a request, and that is all that is known of it. */
function methodOf(method: string | undefined): { readonly method?: string | undefined; readonly isRequest?: boolean } {
  return method === '' ? { method: undefined, isRequest: true } : {};
}

function parseLine(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch (cause) {
    throw new IdentityError('invalid_argument', 'is no JSON', { cause });
  }
  throw new IdentityError('invalid_argument', 'must be a JSON object');
}

function faultsOf(error: unknown, number: number): { path: string; message: string }[] {
  if (error instanceof DecodeError)
    return error.faults.map(({ path, message }) => ({ path: `line ${number}, ${path}`, message }));
  if (error instanceof IdentityError) return [{ path: `line ${number}`, message: error.message }];
  throw error;
}

/** A recorded call in parts; what was not recorded is undefined. */
export interface RecordedParts {
  readonly source: Source;
  readonly destination: Destination;
  readonly method?: string | undefined;
  readonly path?: NormalizedPath | undefined;
  readonly host?: string | undefined;
  readonly grpc?: { readonly service: string; readonly method: string } | undefined;
  /** Why the request could not be normalised; then nothing of it is recorded. */
  readonly refused?: Refusal | undefined;
  /** It was a request, even when nothing of it is recorded. */
  readonly isRequest?: boolean;
  /** Which selectors the destination has is not known. */
  readonly lacksSelectors?: boolean;
  /** What was decided last. */
  readonly verdict: 'allow' | 'deny';
  /** Some of the calls were decided otherwise. */
  readonly isMixed?: boolean;
  /** The rules that decided. */
  readonly decidedBy?: readonly RuleReference[];
  readonly count: number;
  /** Milliseconds since 1970. */
  readonly lastSeen: number;
}

/**
 * Makes a recorded call of its parts, which knows what it lacks: headers and claims are never recorded; a connection has none. A path with braces
 * that are no variable counts as not recorded: it must not be taken for more paths than were called.
 */
export function recordedCallOf(given: RecordedParts): RecordedCall {
  const parts = withoutForeignPath(given);
  const { source, destination, refused, verdict, count, lastSeen } = parts;
  const request = refused === undefined ? requestOf(parts) : undefined;
  const call = {
    source,
    destination,
    ...(request === undefined ? {} : { request }),
    ...(refused === undefined ? {} : { refused }),
    atMs: lastSeen,
  };
  const { isMixed = false, decidedBy = [], lacksSelectors = false } = parts;
  return {
    call: { ...call, unrecorded: lacking(parts) },
    count,
    lastSeenAtMs: lastSeen,
    observed: verdict,
    ...(isMixed ? { isMixed } : {}),
    ...(decidedBy.length === 0 ? {} : { decidedBy }),
    ...(lacksSelectors ? { lacksSelectors } : {}),
  };
}

function withoutForeignPath(parts: RecordedParts): RecordedParts {
  if (parts.path === undefined || isRecordedPath(parts.path)) return parts;
  return { ...parts, isRequest: true, path: undefined, grpc: undefined };
}

function isOfRequest({ method, path, host, isRequest }: RecordedParts): boolean {
  return isRequest ?? (method !== undefined || path !== undefined || host !== undefined);
}

function requestOf(parts: RecordedParts): Request | undefined {
  if (!isOfRequest(parts)) return undefined;
  const { method, path, host, grpc } = parts;
  return {
    method: method ?? '',
    path: path ?? normalizePath('/'),
    host: host ?? '',
    headers: new Map(),
    ...(grpc === undefined ? {} : { grpc }),
  };
}

function lacking(parts: RecordedParts): ReadonlySet<CallField> {
  const { source, destination, method, path, host, grpc } = parts;
  const isRequest = isOfRequest(parts);
  const missing: readonly (readonly [CallField, boolean])[] = [
    ['source.address', source.address === undefined],
    ['destination.port', destination.port === undefined],
    ['request.method', isRequest && method === undefined],
    ['request.path', isRequest && path === undefined],
    ['request.host', isRequest && host === undefined],
    ['request.grpc', isRequest && grpc === undefined && (method ?? 'POST') === 'POST'],
    ['request.headers', isRequest],
    ['user', isRequest],
  ];
  return new Set(missing.filter(([, isMissing]) => isMissing).map(([field]) => field));
}

/**
 * Writes a recorded call as the line that {@link parseRecordedCalls} reads, without a line break.
 *
 * @example
 * const file = calls.map(recordedLine).join('\n');
 */
export function recordedLine(parts: RecordedParts): string {
  const { source, destination, method, path, host, grpc, refused, verdict, isMixed, decidedBy = [], count, lastSeen } = parts;
  return JSON.stringify({
    source: { ...source, spiffeId: source.spiffeId?.toString(), address: undefined },
    destination: {
      ...destination,
      spiffeId: destination.spiffeId?.toString(),
      selectors: parts.lacksSelectors === true ? undefined : [...destination.selectors],
    },
    // A request of which nothing is known but that it was one.
    method: method ?? (isOfRequest(parts) && path === undefined && host === undefined ? '' : undefined),
    path: path === undefined ? undefined : encodedPath(path),
    host,
    grpc,
    refused,
    verdict,
    mixed: isMixed === true ? true : undefined,
    rules: decidedBy.length === 0 ? undefined : decidedBy,
    count,
    lastSeen: new Date(lastSeen).toISOString(),
  });
}

/** As it may stand in a request: `/a b` is `/a%20b`. */
function encodedPath(path: string): string {
  return path.replaceAll(/[^!-~]+|[%?#]/gu, encodeURIComponent);
}
