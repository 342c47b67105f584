import type { CallField, Request } from '../model.ts';
import { possibleGrpc } from '../normalize/grpc-path.ts';

type Headers = ReadonlyMap<string, string>;

/** Most lines of a header that are looked at one by one. */
const MAX_LINES = 4;

// With control characters: those that a header must not hold are refused beforehand.
// oxlint-disable-next-line no-control-regex -- all of ASCII is meant
const ASCII = /^[\u0000-\u007F]*$/;

/**
 * The requests that programs may read from this one, as far as these fields of it tell them apart; undefined where there is one reading,
 * as there nearly always is, and empty where there are too many.
 *
 * - Headers in several lines: all of them joined, the first ones, and so on to the last ones.
 * - Header values with bytes beyond ASCII: Latin-1 and UTF-8.
 * - What is no gRPC for certain, and whose path names a gRPC call: none, and that one.
 */
export function readingsOf(request: Request, fields: ReadonlySet<CallField>): readonly Request[] | undefined {
  const headers = fields.has('request.headers') ? headersOf(request) : [request.headers];
  const grpc = fields.has('request.grpc') ? possibleGrpc(request) : undefined;
  if (headers.length === 1 && grpc === undefined) return undefined;
  const readings = headers.map((each): Request => ({ ...request, headers: each }));
  return grpc === undefined ? readings : [...readings, ...readings.map((each): Request => ({ ...each, grpc }))];
}

function headersOf({ headers, repeated }: Request): readonly Headers[] {
  const lines = Math.max(0, ...[...(repeated?.values() ?? [])].map(({ length }) => length));
  if (lines > MAX_LINES) return [];
  const byLine = [headers, ...Array.from({ length: lines }, (_, line) => withLine(headers, repeated ?? NONE, line))];
  const isPlain = [...headers.values()].every((value) => ASCII.test(value));
  return isPlain ? byLine : [...byLine, ...byLine.map(readOtherwise)];
}

function withLine(headers: Headers, repeated: ReadonlyMap<string, readonly string[]>, line: number): Headers {
  return new Map([...headers].map(([name, value]) => [name, lineOf(repeated.get(name), line) ?? value]));
}

/** The last one where there are fewer. */
function lineOf(values: readonly string[] = [], line: number): string | undefined {
  return values[line] ?? values.at(-1);
}

const NONE: ReadonlyMap<string, readonly string[]> = new Map();

function readOtherwise(headers: Headers): Headers {
  return new Map([...headers].map(([name, value]) => [name, ASCII.test(value) ? value : otherReading(value)]));
}

/** Headers come as one character for each byte; where there are others, somebody has read them as UTF-8. */
function otherReading(value: string): string {
  return Array.from(value).every((character) => character <= '\u00FF')
    ? new TextDecoder().decode(Uint8Array.from(value, (character) => character.charCodeAt(0)))
    : Array.from(new TextEncoder().encode(value), (byte) => String.fromCharCode(byte)).join('');
}
