import { decode, DecodeError, integer, literal, map, object, optional, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import type { CallField, Destination, Request } from '../model.ts';
import { normalizePath } from '../normalize/path.ts';
import { RefusedRequest } from '../normalize/refusal.ts';
import { normalizeHost } from '../normalize/host.ts';
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

const line = object({
  source: sourceField,
  destination: destinationField,
  method: optional(string()),
  path: optional(normalized(normalizePath)),
  host: optional(normalized(normalizeHost)),
  grpc: optional(object({ service: string(), method: string() })),
  verdict: literal('allow', 'deny'),
  count: integer({ min: 1 }),
  lastSeen: time,
});

/**
 * Reads recorded calls, one JSON object in each line: source, destination, method, path template, host, verdict, count, lastSeen.
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
      const key = JSON.stringify(Reflect.get(value, 'destination') ?? null);
      const parts = decode(line, value);
      const destination = destinations.get(key) ?? parts.destination;
      destinations.set(key, destination);
      calls.push(recordedCall({ ...parts, destination }));
    } catch (error) {
      faults.push(...faultsOf(error, index + 1));
    }
  }
  if (faults.length > 0) throw new DecodeError(faults);
  return calls;
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

function recordedCall(parts: Decoded<typeof line>): RecordedCall {
  const { source, destination, verdict, count, lastSeen } = parts;
  const request = requestOf(parts);
  const call = { source, destination, ...(request === undefined ? {} : { request }), atMs: lastSeen };
  return { call: { ...call, unrecorded: lacking(parts) }, count, lastSeenAtMs: lastSeen, observed: verdict };
}

function requestOf({ method, path, host, grpc }: Decoded<typeof line>): Request | undefined {
  if (method === undefined && path === undefined && host === undefined) return undefined;
  return {
    method: method ?? '',
    path: path ?? normalizePath('/'),
    host: host ?? '',
    headers: new Map(),
    ...(grpc === undefined ? {} : { grpc }),
  };
}

/** What the line does not say. Headers and claims are never recorded; of a connection there are none. */
function lacking({ source, destination, method, path, host, grpc }: Decoded<typeof line>): ReadonlySet<CallField> {
  const isRequest = method !== undefined || path !== undefined || host !== undefined;
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
