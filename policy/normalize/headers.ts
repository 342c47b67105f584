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

/**
 * Headers by their names in lower case; a repeated one is joined as RFC 9110 §5.3 says, unless it is one that must not be repeated.
 *
 * @throws RefusedRequest
 * @example
 * normalizeHeaders([['Accept', 'a'], ['accept', 'b']]).get('accept'); // 'a, b'
 */
export function normalizeHeaders(headers: Iterable<RawHeader>): Map<string, string> {
  const result = new Map<string, string>();
  let [count, bytes] = [0, 0];
  for (const [rawName, rawValue] of headers) {
    count += 1;
    bytes += rawName.length + rawValue.length;
    if (count > MAX_HEADERS || bytes > MAX_HEADER_BYTES) refuse('headers_too_large');
    add(result, rawName, rawValue);
  }
  return result;
}

function add(result: Map<string, string>, rawName: string, rawValue: string): void {
  if (!TOKEN.test(rawName) || FORBIDDEN.test(rawValue)) refuse('header_invalid');
  const name = rawName.toLowerCase();
  const value = rawValue.trim();
  const earlier = result.get(name);
  if (earlier !== undefined && SINGLE.has(name)) refuse(name === 'host' ? 'host_repeated' : 'header_repeated');
  const separator = name === 'cookie' ? '; ' : ', ';
  result.set(name, earlier === undefined ? value : `${earlier}${separator}${value}`);
}
