import { refuse } from './refusal.ts';

/**
 * A path as policies match it: percent-decoded once, without empty segments, without a trailing slash. Made by
 * {@link normalizePath}; `/` for the root, `*` for the target of `OPTIONS *`.
 */
export type NormalizedPath = string & { readonly normalized: unique symbol };

/** Longest request target that is looked at, in bytes. */
export const MAX_PATH_BYTES = 8192;

const VISIBLE_ASCII = /^[!-~]*$/;
const PLAIN = /^(?:\/[A-Za-z0-9_~!$&'()*+,=:@-](?:[A-Za-z0-9_~!$&'()*+,=:@.-]*[A-Za-z0-9_~!$&'()*+,=:@-])?)+$/;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Normalises the target of a request in origin form (RFC 9112 §3.2.1), its query left out.
 *
 * - `//` becomes `/`, but not at the beginning; a trailing slash is dropped; `%XX` is decoded once (RFC 3986 §6.2.2).
 * - Refused, because servers read them differently: `//` at the beginning (what follows is a host to who resolves it, RFC 3986 §4.2), dot segments (`/./`, `/a/../b`, `%2e` too: clients resolve them before they send
 *   a path, and who passes it on as it came may hand it to a router that does not), `%2f`, `\` and `%5c`, `%00` and other control characters, what is still
 *   encoded after decoding, broken encodings, bytes that are no UTF-8, matrix parameters (`;`), a segment that ends
 *   with a dot or a space, a fragment, raw bytes outside visible ASCII, more than {@link MAX_PATH_BYTES}.
 *
 * @throws RefusedRequest
 * @example
 * normalizePath('/a//b/%7Ec/?q=1'); // '/a/b/~c'
 */
export function normalizePath(target: string): NormalizedPath {
  if (target.length > MAX_PATH_BYTES) refuse('path_too_long');
  const query = target.indexOf('?');
  const raw = query === -1 ? target : target.slice(0, query);
  // The cast is sound: every segment is of plain characters, none is empty, a dot segment or ends with a dot.
  if (PLAIN.test(raw)) return raw as NormalizedPath;
  checkRaw(raw, query === -1 ? '' : target.slice(query));
  // The cast is sound: this is what the type stands for.
  return joined(decoded(raw)) as NormalizedPath;
}

function checkRaw(raw: string, query: string): void {
  if (raw.includes('#') || query.includes('#')) refuse('path_fragment');
  if (!raw.startsWith('/')) refuse('path_not_absolute');
  if (raw.startsWith('//')) refuse('path_leading_slashes');
  if (raw.includes('\\')) refuse('path_backslash');
  if (raw.includes(';')) refuse('path_matrix_parameters');
  if (raw.includes('\0')) refuse('path_null');
  if (!VISIBLE_ASCII.test(raw)) refuse('path_bad_character');
}

function decoded(raw: string): string {
  if (!raw.includes('%')) return raw;
  const text = utf8Text(raw.replaceAll(/%([^]{0,2})/g, decodeOne));
  if (/%[0-9A-Fa-f]{2}/.test(text)) refuse('path_double_encoding');
  return text;
}

function decodeOne(_whole: string, hex: string): string {
  if (!/^[0-9A-Fa-f]{2}$/.test(hex)) refuse('path_bad_encoding');
  const byte = Number.parseInt(hex, 16);
  if (byte === 0x2f) refuse('path_encoded_slash');
  if (byte === 0x5c) refuse('path_backslash');
  if (byte === 0x3b) refuse('path_matrix_parameters');
  if (byte === 0) refuse('path_null');
  if (byte < 0x20 || byte === 0x7f) refuse('path_control_character');
  return String.fromCharCode(byte);
}

function utf8Text(bytes: string): string {
  try {
    return utf8.decode(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
  } catch {
    return refuse('path_not_utf8');
  }
}

function joined(path: string): string {
  const segments = path.split('/').filter((segment) => segment !== '');
  if (segments.some(isDots)) refuse(isAboveRoot(segments) ? 'path_above_root' : 'path_dot_segment');
  if (segments.some((segment) => segment.endsWith('.') || segment.endsWith(' '))) refuse('path_trailing_dot');
  return `/${segments.join('/')}`;
}

const isDots = (segment: string): boolean => segment === '.' || segment === '..';

function isAboveRoot(segments: readonly string[]): boolean {
  let depth = 0;
  for (const segment of segments) {
    if (segment === '..') depth -= 1;
    else if (segment !== '.') depth += 1;
    if (depth < 0) return true;
  }
  return false;
}
