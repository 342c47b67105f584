import type { HeaderClause } from '../../../policy/resources/operation-clause.ts';
import { all, any, type Condition, header, NEVER, not } from './condition.ts';
import { otherThan } from './other-text.ts';
import { type Matched, UNKNOWN } from './path-conditions.ts';
import type { RuleContext } from './rule-context.ts';

// Envoy sets, joins or removes these by itself before the filter sees them.
const MANAGED =
  /^(?:host|connection|keep-alive|proxy-connection|te|transfer-encoding|upgrade|via|forwarded|x-forwarded-.*|x-envoy-.*|x-request-id)$/;

const PLAIN = '(?:[!-~](?:[\\t -~]*[!-~])?)?';

/** Whether some value of the header is of visible ASCII only, with blanks but within it. */
export function isPlain(name: string): Condition {
  return header(name, { regex: PLAIN });
}

/**
 * Whether a value may be another one to the service than to Envoy: there are blanks around it, which are no part of it (RFC 9110
 * §5.5) and which Envoy does not leave out, bytes of an unknown encoding, or what looks like several
 * values that Envoy has joined: it does so to `accept`, `referer` and others, and before 1.38 to all.
 */
function isOdd(name: string): Condition {
  return all(
    header(name),
    any(not(isPlain(name)), header(name, { regex: '(?s)[\\t ].*|.*[\\t ]|.*[^\\t -~].*|.*,(?:[^ ].*)?' })),
  );
}

/**
 * One condition on a header. We look at repeated headers one by one and joined with a comma, and what they do not agree upon cannot be
 * told; Envoy looks at each by itself, or joins them without a blank, and is content when one matches. So a header matches for certain only where no other value
 * is there, and what spans several cannot be told.
 */
export function headerCondition(clause: HeaderClause, { limits, bias }: Pick<RuleContext, 'limits' | 'bias'>): Matched {
  const { name, present, exact, prefix, suffix, regex } = clause;
  const key = name.toLowerCase();
  if (MANAGED.test(key)) return UNKNOWN;
  if (present !== undefined) return { matches: present ? header(key) : not(header(key)) };
  const unknown = isOdd(key);
  // Where an ALLOW rule has `not`, several values together might match though none of them does.
  if (regex !== undefined)
    return { matches: bias && limits.regexes ? header(key, { regex }) : header(key), certainly: NEVER, unknown };
  const text = exact !== undefined ? { exact } : prefix !== undefined ? { prefix } : { suffix: suffix ?? '' };
  const literal = exact ?? prefix ?? suffix ?? '';
  if (!isOfOneHeader(literal)) return { matches: header(key), certainly: NEVER, unknown };
  const matches = header(key, text);
  const other = otherThan(text);
  const certainly = other.cost > limits.maxCost ? NEVER : all(matches, not(header(key, { regex: other.regex })));
  return { matches, certainly, unknown };
}

/** Whether it makes no difference to this text how repeated headers are joined. */
function isOfOneHeader(literal: string): boolean {
  return /^[!-~](?:[ -~]*[!-~])?$/.test(literal) && !/[,;]/.test(literal);
}

/**
 * Whether a header may have come more than once, of those that Envoy joins itself: a comma with no blank after it. A value with
 * other characters than visible ASCII counts as well.
 */
export function mayBeJoined(name: string): Condition {
  return all(header(name), not(header(name, { regex: '(?:[\\t -+\\--~]|, )*' })));
}
