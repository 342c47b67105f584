import { escaped, type PathExpression } from './path-text.ts';

const ANY = '.';
const COST_OF_CHARACTER = 14;

/**
 * An expression for every text that is not this one, or does not begin or end with it: RE2 cannot say "not".
 *
 * @example
 * otherThan({ exact: 'ab' }).regex; // holds for '', 'a', 'b', 'ax', 'abc', not for 'ab'
 */
export function otherThan(
  text: { readonly exact: string } | { readonly prefix: string } | { readonly suffix: string },
): PathExpression {
  const literal = 'exact' in text ? text.exact : 'prefix' in text ? text.prefix : text.suffix;
  const cost = COST_OF_CHARACTER * literal.length;
  const characters = [...new Intl.Segmenter().segment(literal)].map(({ segment }) => segment);
  if ('suffix' in text) return { regex: `(?s)(?:${endsElse(characters)})`, cost };
  const beyond = 'exact' in text ? `${ANY}+` : undefined;
  return { regex: `(?s)(?:${beginsElse(characters, beyond)})`, cost };
}

/** Texts that differ at some character, that end before it does, or, where `beyond` is given, go on after it. */
function beginsElse([first, ...rest]: readonly string[], beyond: string | undefined): string {
  if (first === undefined) return beyond ?? '';
  const after = rest.length === 0 && beyond === undefined ? '' : `|${escaped(first)}(?:${beginsElse(rest, beyond)})`;
  return `|[^${inClass(first)}]${ANY}*${after}`;
}

function endsElse(characters: readonly string[]): string {
  const last = characters.at(-1);
  if (last === undefined) return '';
  const rest = characters.slice(0, -1);
  const before = rest.length === 0 ? '' : `|(?:${endsElse(rest)})${escaped(last)}`;
  return `|${ANY}*[^${inClass(last)}]${before}`;
}

function inClass(character: string): string {
  return /[\]\\^-]/.test(character) ? `\\${character}` : character;
}
