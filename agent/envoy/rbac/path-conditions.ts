import { parsePathTemplate } from '../../../policy/match/path-template.ts';
import type { PathClause } from '../../../policy/resources/operation-clause.ts';
import { all, any, ALWAYS, type Condition, NEVER, not, path } from './condition.ts';
import { ANYTHING, encoded, exactPath, type PathMatching, prefixPath, SEGMENT, suffixPath, withoutSlash } from './path-text.ts';

/** What matches a value, and where that cannot be told. */
export interface Matched {
  readonly matches: Condition;
  readonly certainly?: Condition;
  readonly unknown?: Condition;
}

/** Cannot be told anywhere. */
export const UNKNOWN: Matched = { matches: NEVER, unknown: ALWAYS };

/** How expressions are dealt with. */
export interface ExpressionLimits extends PathMatching {
  /** Whether regular expressions of policies are handed on. */
  readonly regexes: boolean;
}

/** One condition on the path. */
export function pathCondition({ exact, prefix, suffix, template, regex }: PathClause, limits: ExpressionLimits): Matched {
  if (regex !== undefined) return limits.regexes ? regexPath(regex) : UNKNOWN;
  const matches =
    exact !== undefined
      ? exactPath(exact, limits)
      : prefix !== undefined
        ? prefixPath(prefix, limits)
        : suffix !== undefined
          ? suffixPath(suffix, limits)
          : templatePath(template ?? '', limits);
  return matches === undefined ? UNKNOWN : { matches };
}

/** Variables stand for whole segments. Undefined: it costs too much. */
function templatePath(text: string, { maxCost }: PathMatching): Condition | undefined {
  const template = parsePathTemplate(withoutSlash(text));
  if (template === undefined) return NEVER;
  if (template.segments.length === 0) return path({ exact: '/' });
  let [regex, cost] = ['', 0];
  for (const segment of template.segments) {
    const piece =
      segment.kind === 'literal'
        ? encoded(segment.text)
        : { regex: segment.kind === 'rest' ? `${SEGMENT}${ANYTHING}` : SEGMENT, cost: 5 };
    if (piece === undefined) return NEVER;
    regex += `/${piece.regex}`;
    cost += piece.cost + 1;
  }
  if (cost > maxCost) return undefined;
  // An expression costs more than a comparison, which tells most paths.
  return all(path({ prefix: beginningOf(withoutSlash(text)) }), path({ regex: `${regex}/?` }));
}

/** What every path begins with that fits the template, up to what may be encoded. */
function beginningOf(text: string): string {
  return /^[A-Za-z0-9_.~/-]+/.exec(text.split('{', 1)[0] ?? '')?.[0] ?? '/';
}

/**
 * An expression is about the decoded path: what has something encoded cannot be told. It is about a path without a slash at
 * its end, so where there is one it must hold for what stands before that; whether it does cannot be told of one that says within
 * where the end is.
 */
function regexPath(regex: string): Matched {
  // A quotation that is not closed would swallow what we add.
  if (regex.includes(String.raw`\Q`)) return UNKNOWN;
  const isRoot = path({ exact: '/' });
  const hasSlash = all(path({ suffix: '/' }), not(isRoot));
  const asIs = all(not(hasSlash), path({ regex }));
  const encoded = path({ contains: '%' });
  const open = regex.replace(END, '');
  // One that is escaped counts as well: to tell them apart is not worth it.
  if (/\$|\\z/.test(open)) return { matches: asIs, unknown: any(encoded, hasSlash) };
  return { matches: any(asIs, all(not(isRoot), path({ regex: `(?:${open})/` }))), unknown: encoded };
}

// At the end of an expression it says nothing, for the whole text has to match; unless it is escaped.
const END = /(?<=(?:^|[^\\])(?:\\\\)*)(?:\$|\\z)$/;
