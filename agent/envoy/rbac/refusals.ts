import type { Refusal } from '../../../policy/normalize/refusal.ts';
import { all, any, type Condition, header, not, path } from './condition.ts';
import { mayBeJoined } from './header-conditions.ts';

/** Why a request is denied before any rule is looked at; `path_not_normalized` when Envoy was not told to normalise paths. */
export type NativeRefusal = Refusal | 'path_not_normalized';

/** Envoy refuses a larger program unless its runtime says otherwise (`re2.max_program_size.error_level`); these are small enough. */
const HEX = '[0-9A-Fa-f]';
const ANY = '[!-~]*';
const NO_HEX = '[!-/:-@G-`g-~]';
const CONTINUATION = '%[89ab][0-9a-f]';
const LABEL = '[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?';
const NAME = `(?i)${LABEL}(?:[.]${LABEL})*[.]?`;

const contains = (text: string): Condition => path({ contains: text, ignoreCase: true });
const matches = (regex: string): Condition => path({ regex });
const hasDotAtEnd = any(path({ suffix: '.' }), path({ contains: './' }));
const isAsterisk = all(header(':method', { exact: 'OPTIONS' }), path({ exact: '*' }));

/**
 * What the engine refuses of requests, as far as Envoy shows it: two programs could read such a request as two different
 * ones. Envoy itself refuses or resolves the rest before its filters see it.
 */
export const REFUSALS: ReadonlyMap<NativeRefusal, Condition> = new Map<NativeRefusal, Condition>([
  ['path_not_absolute', not(any(path({ prefix: '/' }), isAsterisk))],
  ['path_bad_character', not(matches(ANY))],
  ['path_fragment', header(':path', { contains: '#' })],
  ['path_matrix_parameters', any(path({ contains: ';' }), whereEncoded(contains('%3b')))],
  ['path_backslash', any(path({ contains: '\\' }), whereEncoded(contains('%5c')))],
  ['path_encoded_slash', whereEncoded(contains('%2f'))],
  ['path_null', whereEncoded(contains('%00'))],
  ['path_control_character', whereEncoded(matches(`(?i)${ANY}%(?:[01][0-9a-f]|7f)${ANY}`))],
  ['path_bad_encoding', whereEncoded(matches(`${ANY}%(?:${NO_HEX}${ANY}|${HEX}(?:${NO_HEX}${ANY})?)?`))],
  ['path_double_encoding', whereEncoded(matches(`${ANY}%25${HEX}{2}${ANY}`))],
  ['path_not_utf8', whereEncoded(any(not(matches(utf8Shape())), matches(badLeads())))],
  // A segment that ends with a dot or a blank, `.` and `..` included.
  ['path_trailing_dot', any(all(path({ contains: '.' }), hasDotAtEnd), whereEncoded(matches(`${ANY}%20(?:/${ANY})?`)))],
  ['path_not_normalized', any(path({ contains: '//' }), whereEncoded(matches(`(?i)${ANY}%(?:${encodedUnreserved()})${ANY}`)))],
  ['host_invalid', all(not(isUsualHost()), header(':authority'), not(header(':authority', { exact: '' })), any(...badHosts()))],
  ['method_invalid', unlessUsual(not(header(':method', { regex: "[!#$%&'*+.^_`|~0-9A-Za-z-]+" })))],
  ['method_case', unlessUsual(all(not(header(':method', { regex: '[A-Z]+' })), header(':method', { regex: knownMethods() })))],
  ['header_repeated', any(...['authorization', 'content-type', 'origin', 'from'].map(mayBeJoined))],
]);

/** Most requests are told at a glance: an expression costs more than a comparison. */
function unlessUsual(condition: Condition): Condition {
  const usual = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS'];
  return all(not(any(...usual.map((exact) => header(':method', { exact })))), condition);
}

function whereEncoded(condition: Condition): Condition {
  return all(path({ contains: '%' }), condition);
}

/** Sequences of a lead and as many continuations as it asks for; anything else one by one. */
function utf8Shape(): string {
  const sequence = `(?:%[cd][0-9a-f]|(?:%e[0-9a-f]|%f[0-4]${CONTINUATION})${CONTINUATION})${CONTINUATION}`;
  return `(?i)(?:[!-$&-~]|%[0-7][0-9a-f]|${sequence})*`;
}

/** Leads of characters in more bytes than they need, of surrogates, and beyond Unicode (RFC 3629 §4). */
function badLeads(): string {
  return `(?i)${ANY}(?:%c[01]|%e0%[89]|%ed%[ab]|%f0%8|%f4%[9ab])${ANY}`;
}

function encodedUnreserved(): string {
  return '2[de]|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae]';
}

/** A name, with a port that is certainly none too high: told by one expression. */
function isUsualHost(): Condition {
  return header(':authority', { regex: `${NAME}(?::(?:[0-9]{1,4}|[0-5][0-9]{4}))?` });
}

function badHosts(): readonly Condition[] {
  const address = String.raw`\[[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*\]`;
  const host = (regex: string): Condition => header(':authority', { regex });
  const tooHigh = host(`${ANY}:(?:[7-9][0-9]{4}|6[6-9][0-9]{3}|65[6-9][0-9]{2}|655[4-9][0-9]|6553[6-9])`);
  return [
    not(any(host(`${NAME}(?::[0-9]{1,5})?`), host(`(?i)${address}(?::[0-9]{1,5})?`))),
    all(header(':authority', { contains: ':' }), tooHigh),
  ];
}

function knownMethods(): string {
  return '(?i)(?:get|head|post|put|delete|connect|options|trace|patch)';
}
