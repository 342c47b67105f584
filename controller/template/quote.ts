// `%q`: text in quotes, as Go's strconv writes it.
import { Fault } from './template-error.ts';

const SIMPLE: Readonly<Record<string, string>> = {
  '\x07': String.raw`\a`,
  '\b': String.raw`\b`,
  '\f': String.raw`\f`,
  '\n': String.raw`\n`,
  '\r': String.raw`\r`,
  '\t': String.raw`\t`,
  '\v': String.raw`\v`,
};

/** In double quotes for a string, in single quotes for a character; `ascii` escapes all else. */
export function quoted(text: string, quote: '"' | "'", ascii: boolean): string {
  let result = quote as string;
  for (const character of text) result += quotedCharacter(character, quote, ascii);
  return result + quote;
}

function quotedCharacter(character: string, quote: string, ascii: boolean): string {
  if (character === quote || character === '\\') return `\\${character}`;
  if (character >= ' ' && character <= '~') return character;
  const simple = SIMPLE[character];
  if (simple !== undefined) return simple;
  const point = character.codePointAt(0) ?? 0;
  if (point < 0x80) return String.raw`\x${hexadecimal(point, 2)}`;
  if (!ascii && isPrintable(character)) return character;
  return point < 0x1_0000 ? String.raw`\u${hexadecimal(point, 4)}` : String.raw`\U${hexadecimal(point, 8)}`;
}

function hexadecimal(point: number, width: number): string {
  return point.toString(16).padStart(width, '0');
}

/**
 * Whether Go prints a character outside ASCII as it is.
 *
 * @throws {Fault} Beyond the letters of Europe, where the answer depends on the Unicode version that Go was built with.
 */
export function isPrintable(character: string): boolean {
  if (character > '\u024F' && character !== '\uFFFD') {
    throw new Fault('unsupported', `quoting ${character} is not supported: whether it is escaped differs between versions of Go`);
  }
  return character >= '\u00A1' && character !== '\u00AD';
}
