import { refuse } from './refusal.ts';

/** A header as it came, such as `['Accept', 'text/html']`. */
export type RawHeader = readonly [name: string, value: string];

/** Most headers and most bytes of names and values that are looked at. */
const MAX_HEADERS = 256;
const MAX_HEADER_BYTES = 65_536;

// RFC 9110 §5.6.2 and §5.5; a value may hold bytes from 0x80 on.
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// oxlint-disable-next-line no-control-regex -- these are the ones that a value must not hold
const FORBIDDEN = /[\u0000-\u0008\u000A-\u001F\u007F]/;

/** Headers of which servers take the first, or the last, when they come twice. */
const SINGLE = new Set(['authorization', 'content-length', 'content-type', 'host', 'origin', 'referer', 'user-agent', 'from']);

/** Normalised headers, by their names in lower case. */
export interface NormalizedHeaders {
  readonly headers: ReadonlyMap<string, string>;
  /** The values of those that came in several lines, one by one; absent where none did. See `Request.repeated`. */
  readonly repeated?: ReadonlyMap<string, readonly string[]>;
}

/**
 * Headers by their names in lower case; a repeated one is joined as RFC 9110 §5.3 says, unless it is one that must not be repeated.
 *
 * @throws RefusedRequest
 * @example
 * normalizeHeaders([['Accept', 'a'], ['accept', 'b']]).headers.get('accept'); // 'a, b'
 */
export function normalizeHeaders(lines: Iterable<RawHeader>): NormalizedHeaders {
  const headers = new Map<string, string>();
  let repeated: Map<string, string[]> | undefined;
  let [count, bytes] = [0, 0];
  for (const [rawName, rawValue] of lines) {
    count += 1;
    bytes += rawName.length + rawValue.length;
    if (count > MAX_HEADERS || bytes > MAX_HEADER_BYTES) refuse('headers_too_large');
    if (!TOKEN.test(rawName) || FORBIDDEN.test(rawValue)) refuse('header_invalid');
    const name = rawName.toLowerCase();
    const value = trimmed(rawValue);
    const earlier = headers.get(name);
    if (earlier === undefined) headers.set(name, value);
    else {
      headers.set(name, joined(name, earlier, value));
      if (name !== 'cookie') noteRepeated((repeated ??= new Map()), { name, earlier, value });
    }
  }
  return repeated === undefined ? { headers } : { headers, repeated };
}

// The lines of a cookie are one text, however it was cut for the wire (RFC 9113 §8.2.3).
function joined(name: string, earlier: string, value: string): string {
  if (SINGLE.has(name)) refuse(name === 'host' ? 'host_repeated' : 'header_repeated');
  return `${earlier}${name === 'cookie' ? '; ' : ', '}${value}`;
}

interface RepeatedHeader {
  readonly name: string;
  /** What came of the lines before, and of the first one alone where this is the second. */
  readonly earlier: string;
  readonly value: string;
}

function noteRepeated(repeated: Map<string, string[]>, { name, earlier, value }: RepeatedHeader): void {
  const values = repeated.get(name);
  if (values === undefined) repeated.set(name, [earlier, value]);
  else values.push(value);
}

/** Without blanks and tabs around it (RFC 9110 §5.5): any other character is part of the value. */
function trimmed(value: string): string {
  let [start, end] = [0, value.length];
  while (start < end && isBlank(value.charCodeAt(start))) start += 1;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end -= 1;
  return start === 0 && end === value.length ? value : value.slice(start, end);
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09;
