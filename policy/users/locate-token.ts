/** The headers of a request: each value of a header that occurs several times, names in lower case. */
export interface TokenHeaders {
  values(name: string): readonly string[];
}

/** Where the token of a request was looked for, and what was found. */
export type LocatedToken =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'missing' }
  /** More than one token, or a header that cannot be read: which of several counts must never be a guess. */
  | { readonly kind: 'ambiguous' };

/** What begins as a bearer token does, whatever follows: RFC 6750 §2.1 has one form, and some servers read others. */
const LIKE_BEARER = /^bearer/i;
const BEARER = /^bearer +(.*)$/i;
/** RFC 6750 §2.1. */
const B64TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;
/** The compact form of RFC 7515 §7.1, whose signature may be empty, and of RFC 7516 §7.1. */
const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,2}$/;

/**
 * Finds the one token of a request in the headers that may hold it: as `Bearer` or alone. Other schemes in `Authorization` (RFC 9110
 * §11.6.2), such as Basic, are not about the user. What only looks like a token is never taken for none: a service may read it as one.
 */
export function locateToken(headers: TokenHeaders, names: readonly string[]): LocatedToken {
  const found = [...new Set(names.map((name) => name.toLowerCase()))].flatMap((name) =>
    headers.values(name).flatMap((value) => tokenIn(name, value.trim())),
  );
  const [first, ...more] = found;
  if (first === undefined) return { kind: 'missing' };
  return more.length > 0 || !B64TOKEN.test(first) ? { kind: 'ambiguous' } : { kind: 'token', token: first };
}

/** What stands where the token should, be it one or not; nothing where there is none. */
function tokenIn(name: string, value: string): readonly string[] {
  if (LIKE_BEARER.test(value)) return [BEARER.exec(value)?.[1] ?? ''];
  if (value === '') return [];
  return name === 'authorization' && !holdsToken(value) ? [] : [value];
}

/** Whether a value of `Authorization` is a token alone, or lines of it that a proxy joined have one behind another scheme. */
function holdsToken(value: string): boolean {
  const [first = '', ...joined] = value.split(',').map((part) => part.trim());
  return JWT.test(first) || joined.some((part) => LIKE_BEARER.test(part) || JWT.test(part));
}
