// Values of Istio's rules: exact, `prefix*`, `*suffix`, and `*` for anything that is there.
import { RefusedRequest } from '../normalize/refusal.ts';
import { normalizePath } from '../normalize/path.ts';
import type { UserClause } from '../resources/source-clause.ts';
import { exactly, LOST, partly } from './losses.ts';
import type { Translated } from './losses.ts';

/** Any caller that has shown an SVID. */
export const ANY_ID = ['spiffe://*', 'spiffe://*/**'] as const;

/** `trust-domain/ns/NAMESPACE/sa/NAME`, with wildcards that cross segments. `cluster.local` is the mesh's own trust domain. */
export function principal(value: string, trustDomain: string, isWide: boolean): Translated<string> {
  if (value === '*') return exactly(...ANY_ID);
  // Istio writes the scheme before each: nobody has an ID with two.
  if (value.startsWith('spiffe://') && !isWide) return LOST;
  if (value.startsWith('*')) return suffixOfId(value.slice(1));
  const named = value.replace(/^(spiffe:\/\/)?cluster\.local(?=\/|$)/, trustDomain).replace(/^spiffe:\/\//, '');
  if (!named.includes('*')) return exactly(`spiffe://${named}`);
  const start = named.slice(0, -1);
  if (!named.endsWith('*') || start.includes('*')) return LOST;
  return start.endsWith('/') ? exactly(`spiffe://${start}**`) : exactly(`spiffe://${start}*`, `spiffe://${start}*/**`);
}

/** IDs of Istio have five parts; of others, only those of as many are found. */
function suffixOfId(suffix: string): Translated<string> {
  const parts = suffix.split('/').length;
  if (suffix.includes('*') || !suffix.startsWith('/') || parts > 5) return LOST;
  return partly(`spiffe://${Array.from({ length: 6 - parts }, () => '*').join('/')}${suffix}`);
}

/** A service account, without wildcards; without a namespace, one of the policy's own. */
export function serviceAccount(value: string, namespace: string): Translated<string> {
  if (value.includes('*')) return LOST;
  return exactly(value.includes('/') ? value : `${namespace}/${value}`);
}

/** A port; Istio has no ranges. */
export function port(value: string): Translated<string> {
  return value.includes('-') ? LOST : exactly(value);
}

/** A trust domain. */
export function trustDomain(value: string, own: string): Translated<string> {
  if (value.includes('*')) return LOST;
  return exactly(value === 'cluster.local' ? own : value);
}

/** Names of namespaces and addresses, which are written alike. */
export function namePattern(value: string): Translated<string> {
  return exactly(value);
}

/** A path, a template with `{*}` and `{**}`, or one with a wildcard at an end. `isWide`: rather more than less. */
export function path(value: string, isWide: boolean): Translated<object> {
  if (value === '*' || value === '/*') return exactly({ regex: '.*' });
  if (value.includes('{')) return templatePath(value, isWide);
  // No normalised path ends with a slash or has encoded characters.
  if (value.startsWith('*')) return /[*%;?#]|\/$/.test(value.slice(1)) ? LOST : exactly({ suffix: value.slice(1) });
  if (value.endsWith('/*')) return below(value.slice(0, -2), isWide);
  const isPrefix = value.endsWith('*');
  const plain = normalized(isPrefix ? value.slice(0, -1) : value);
  if (plain === undefined || plain.includes('*')) return LOST;
  return exactly(isPrefix ? { regex: `${escaped(plain)}.*` } : { exact: plain });
}

// `/a/*` is about `/a/` too, which is `/a` to us.
function below(start: string, isWide: boolean): Translated<object> {
  const plain = normalized(start);
  if (plain === undefined || plain.includes('*')) return LOST;
  return isWide ? exactly({ prefix: plain }) : partly({ template: `${plain}/{rest=**}` });
}

function templatePath(value: string, isWide: boolean): Translated<object> {
  const open = value.endsWith('/{**}');
  const start = open ? value.slice(0, -'/{**}'.length) : value;
  const segments = start.split('/').slice(1);
  if (!value.startsWith('/') || segments.some((each) => each !== '{*}' && /[{}*%;]|^\.*$/.test(each))) return LOST;
  if (open && isWide)
    return exactly({ regex: `${segments.map((each) => (each === '{*}' ? '/[^/]+' : `/${escaped(each)}`)).join('')}(/.*)?` });
  const named = segments.map((each, index) => (each === '{*}' ? `{v${index}}` : each)).join('/');
  return open ? partly({ template: `/${named}/{rest=**}` }) : exactly({ template: `/${named}` });
}

function normalized(text: string): string | undefined {
  try {
    return normalizePath(text);
  } catch (error) {
    if (error instanceof RefusedRequest) return undefined;
    throw error;
  }
}

/** A host. Ours have no port and only `*.` as wildcard. */
export function host(value: string): Translated<string> {
  const lower = value.toLowerCase();
  return lower === '*' || /^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(lower) ? exactly(lower) : LOST;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];

/** A method; wildcards only as far as methods are known. Known ones in other letters are in no request that is let through. */
export function method(value: string, isWide: boolean): Translated<string> {
  if (!isWide && METHODS.includes(value.toUpperCase()) && !METHODS.includes(value)) return LOST;
  if (!isWildcard(value)) return exactly(value);
  const matches = new RegExp(`^(?:${wildcard(value)})$`);
  const found = METHODS.filter((each) => matches.test(each));
  return found.length === 0 ? LOST : partly(...found);
}

/** `issuer/subject`, taken apart at the last slash; `isWide`, in every way in which it can be. */
export function requestPrincipal(value: string, isWide: boolean): Translated<Partial<UserClause>> {
  if (value === '*') return exactly({ subjects: ['*'] });
  if (!/^https?:\/\/[^/*]+\/[^*]*\*?$/.test(value)) return LOST;
  const slashes = [...value.matchAll(/\//g)].map(({ index }) => index).slice(2);
  const ways = slashes.map((at) => ({ issuer: value.slice(0, at), subjects: [value.slice(at + 1)] }));
  const usable = ways.filter(({ subjects }) => subjects[0] !== '').slice(isWide ? -16 : -1);
  return value.endsWith('*') ? partly(...usable) : exactly(...usable);
}

/** A condition on a header, for any of several values. */
export function header(name: string, values: readonly string[]): Translated<object> {
  const [only = '', other] = values;
  // Of a header, `*` asks for its presence; it may be empty.
  if (values.includes('*')) return exactly({ name, present: true });
  if (other === undefined && !isWildcard(only)) return exactly({ name, exact: only });
  const regex = values.map(wildcard).join('|');
  return regex.length > 512 ? LOST : exactly({ name, regex });
}

/** Istio's wildcard is one `*` at the beginning, or else at the end; any other one stands for itself. */
function isWildcard(value: string): boolean {
  return value.startsWith('*') || value.endsWith('*');
}

function wildcard(value: string): string {
  if (value.startsWith('*')) return `.*${escaped(value.slice(1))}`;
  return value.endsWith('*') ? `${escaped(value.slice(0, -1))}.*` : escaped(value);
}

/** Text as a regular expression that matches it. */
export function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
