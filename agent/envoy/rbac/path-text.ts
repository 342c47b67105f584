import { any, type Condition, NEVER, path } from './condition.ts';

// What Envoy leaves as it is, encoded or not; the other visible characters may come either way (RFC 3986 §2.3).
const UNRESERVED = /^[A-Za-z0-9_.~/-]*$/;
// In no path that is judged: see `refusals.ts`.
// oxlint-disable-next-line no-control-regex -- these are the ones that a path cannot hold
const IMPOSSIBLE = /[\u0000-\u001F\u007F;\\]/;
// These come encoded only.
const ENCODED_ONLY = /^[ %?#]$/;
const ONE_CHARACTER = 1;
const ONE_ENCODED = 6;

/** One or more characters of one segment, and any characters. Paths that are judged hold visible ASCII only. */
export const SEGMENT = '[!-.0-~]+';
export const ANYTHING = '[!-~]*';

/** A piece of an expression over paths as Envoy has them, with what it costs Envoy. */
export interface PathExpression {
  readonly regex: string;
  /** About the number of instructions of its program. */
  readonly cost: number;
}

/** A text of a policy, which is decoded, as an expression over paths that are not; undefined where no path can hold it. */
export function encoded(text: string): PathExpression | undefined {
  if (IMPOSSIBLE.test(text)) return undefined;
  let [regex, cost] = ['', 0];
  for (const character of text) {
    const isOneWay = isPlain(character);
    regex += isOneWay ? character.replace('.', String.raw`\.`) : encodedCharacter(character);
    cost += isOneWay ? ONE_CHARACTER : ONE_ENCODED * Buffer.byteLength(character);
  }
  return { regex, cost };
}

function encodedCharacter(character: string): string {
  const bytes = [...Buffer.from(character)].map((byte) => `%${anyCase(byte.toString(16).padStart(2, '0'))}`).join('');
  if (ENCODED_ONLY.test(character) || character > '~') return bytes;
  return `(?:${escaped(character)}|${bytes})`;
}

function anyCase(hex: string): string {
  return hex.replaceAll(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`);
}

/** A text as an expression that matches it alone. */
export function escaped(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9_/:%@~!"#&'<>=,; `-]/g, String.raw`\$&`);
}

const isPlain = (text: string): boolean => UNRESERVED.test(text);

/** How the paths of a clause are matched. Where an expression costs more than `maxCost`, `undefined`: it cannot be told. */
export interface PathMatching {
  readonly maxCost: number;
}

/** The path, with or without a slash at its end. */
export function exactPath(text: string, matching: PathMatching): Condition | undefined {
  const bare = withoutSlash(text);
  if (bare === '/' || bare === '*') return path({ exact: bare });
  // No path that is judged has two slashes in a row.
  if (bare.endsWith('/')) return NEVER;
  if (isPlain(bare)) return any(path({ exact: bare }), path({ exact: `${bare}/` }));
  return expression(encoded(bare), (regex) => `${regex}/?`, matching);
}

/** The path and everything below it. */
export function prefixPath(text: string, matching: PathMatching): Condition | undefined {
  const bare = withoutSlash(text);
  if (bare === '/') return path({ prefix: '/' });
  if (bare.endsWith('/')) return NEVER;
  if (isPlain(bare)) return any(path({ exact: bare }), path({ prefix: `${bare}/` }));
  return expression(encoded(bare), (regex) => `${regex}(?:/${ANYTHING})?`, matching);
}

/** Paths that end with the text; a slash at their end does not count. */
export function suffixPath(text: string, matching: PathMatching): Condition | undefined {
  const bare = withoutSlash(text);
  if (bare === '/') return path({ exact: '/' });
  if (bare.endsWith('/')) return NEVER;
  if (isPlain(bare)) return any(path({ suffix: bare }), path({ suffix: `${bare}/` }));
  return expression(encoded(bare), (regex) => `${ANYTHING}${regex}/?`, matching);
}

function expression(
  piece: PathExpression | undefined,
  complete: (regex: string) => string,
  { maxCost }: PathMatching,
): Condition | undefined {
  if (piece === undefined) return NEVER;
  return piece.cost > maxCost ? undefined : path({ regex: complete(piece.regex) });
}

/** Paths are compared without the slash at their end. */
export function withoutSlash(text: string): string {
  return text.length > 1 && text.endsWith('/') ? text.slice(0, -1) : text;
}

/** A glob, in which `*` stands for any characters of a segment; undefined where no segment can be that. */
export function encodedGlob(glob: string): PathExpression | undefined {
  if (glob.includes('/')) return undefined;
  if (/^[*]+$/.test(glob)) return { regex: SEGMENT, cost: 4 };
  const parts = glob.split('*').map(encoded);
  if (parts.includes(undefined)) return undefined;
  const cost = parts.reduce((sum, part) => sum + (part?.cost ?? 0) + 4, 0);
  return { regex: parts.map((part) => part?.regex ?? '').join('[!-.0-~]*'), cost };
}
