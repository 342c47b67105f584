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

/** RFC 6750 §2.1. */
const B64TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

/**
 * Finds the one token of a request in the headers that may hold it: as `Bearer`, or alone in headers other than
 * `Authorization`. Other schemes there are not about the user.
 */
export function locateToken(headers: TokenHeaders, names: readonly string[]): LocatedToken {
  const found = [...new Set(names.map((name) => name.toLowerCase()))].flatMap((name) =>
    headers.values(name).flatMap((value) => tokenIn(name, value.trim())),
  );
  const [first, ...more] = found;
  if (first === undefined) return { kind: 'missing' };
  return more.length > 0 || !B64TOKEN.test(first) ? { kind: 'ambiguous' } : { kind: 'token', token: first };
}

function tokenIn(name: string, value: string): readonly string[] {
  const [, token] = /^bearer(?: +(.*))?$/i.exec(value) ?? [];
  if (token !== undefined || /^bearer$/i.test(value)) return [token ?? ''];
  return name === 'authorization' || value === '' ? [] : [value];
}
