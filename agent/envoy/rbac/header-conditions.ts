import type { HeaderClause } from '../../../policy/resources/operation-clause.ts';
import { all, type Condition, header, not } from './condition.ts';
import { type Matched, UNKNOWN } from './path-conditions.ts';

// Envoy sets, joins or removes these by itself before the filter sees them.
const MANAGED =
  /^(?:host|connection|keep-alive|proxy-connection|te|transfer-encoding|upgrade|via|forwarded|x-forwarded-.*|x-envoy-.*|x-request-id)$/;
/** Headers of which servers take the first, or the last, when they come twice: twice is once too often. */
const SINGLE = new Set(['authorization', 'content-length', 'content-type', 'origin', 'referer', 'user-agent', 'from']);

/**
 * One condition on a header. Envoy joins repeated ones with a comma, without the blank that we put after it: what depends on
 * that cannot be told, where a value may be one that was joined.
 *
 * @param regexes whether regular expressions of policies are handed on
 */
export function headerCondition({ name, present, exact, prefix, suffix, regex }: HeaderClause, regexes: boolean): Matched {
  const key = name.toLowerCase();
  if (MANAGED.test(key)) return UNKNOWN;
  if (present !== undefined) return { matches: present ? header(key) : not(header(key)) };
  if (regex !== undefined) return regexes ? { matches: header(key, { regex }), unknown: mayBeJoined(key) } : UNKNOWN;
  const text = exact !== undefined ? { exact } : prefix !== undefined ? { prefix } : { suffix: suffix ?? '' };
  const literal = exact ?? prefix ?? suffix ?? '';
  if (isOfOneHeader(key, literal)) return { matches: header(key, text) };
  return { matches: header(key, text), unknown: mayBeJoined(key) };
}

/** Whether it makes no difference to this text how repeated headers are joined. */
function isOfOneHeader(name: string, literal: string): boolean {
  return !SINGLE.has(name) && /^[!-~][ -~]*$/.test(literal) && !/[,;]/.test(literal);
}

/**
 * Whether a header may have come more than once: a comma with no blank after it. A value with other characters than visible
 * ASCII counts as well.
 */
export function mayBeJoined(name: string): Condition {
  const once = name === 'cookie' ? '[\\t -+\\--:<-~]*' : '(?:[\\t -+\\--~]|, )*';
  return all(header(name), not(header(name, { regex: once })));
}
