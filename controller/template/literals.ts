// Strings, characters and numbers as Go writes them.
import { isUtf8 } from 'node:buffer';

import { Fault } from './template-error.ts';
import { FLOAT, intValue, type Value } from './value.ts';

const INTEGER = /^[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)$/;
const DECIMAL_FLOAT = /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/;
const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\'"]))|[^\\]+|\\/gy;
const SIMPLE: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/** A quoted string's or a character's content: code points and, for `\x` and octal escapes, bytes. */
type Piece = { readonly text: string } | { readonly byte: number };

/**
 * The content of `"…"` or `` `…` ``, quotes included.
 *
 * @throws {Fault} `syntax` for a wrong escape, `unsupported` when the bytes are no UTF-8.
 */
export function unquoted(quoted: string): string {
  const content = quoted.slice(1, -1);
  if (quoted.startsWith('`')) return content.replaceAll('\r', '');
  if (!content.includes('\\')) return content;
  const pieces = piecesOf(content, '"');
  const bytes = Buffer.concat(pieces.map((piece) => ('text' in piece ? Buffer.from(piece.text) : Buffer.of(piece.byte))));
  if (!isUtf8(bytes)) throw new Fault('unsupported', 'strings that are no UTF-8 are not supported');
  return bytes.toString();
}

/** The number that a character in single quotes stands for. */
export function characterValue(quoted: string): Value {
  const [piece, ...more] = piecesOf(quoted.slice(1, -1), "'");
  const text = piece === undefined ? '' : 'text' in piece ? piece.text : String.fromCodePoint(piece.byte);
  if (more.length > 0 || Array.from(text).length !== 1) throw new Fault('syntax', `${quoted} is not one character`);
  return intValue(text.codePointAt(0) ?? 0);
}

function piecesOf(content: string, quote: string): Piece[] {
  return [...content.matchAll(ESCAPE)].map((match) => pieceOf(match, quote));
}

function pieceOf([all, hex2, hex4, hex8, octal, simple]: RegExpMatchArray, quote: string): Piece {
  if (!all.startsWith('\\')) return { text: all };
  if (simple !== undefined && (!`'"`.includes(simple) || simple === quote)) return { text: SIMPLE[simple] ?? simple };
  const byte = hex2 === undefined ? Number.parseInt(octal ?? '777', 8) : Number.parseInt(hex2, 16);
  if ((hex2 ?? octal) !== undefined && byte <= 0xff) return { byte };
  const point = Number.parseInt(hex4 ?? hex8 ?? 'ffffffff', 16);
  if (point <= 0x10_ffff && (point < 0xd800 || point > 0xdfff)) return { text: String.fromCodePoint(point) };
  throw new Fault('syntax', 'wrong escape in quotes');
}

/**
 * The value of a number where no type is asked for: an int, or a float64 when it is written like one.
 *
 * @throws {Fault} `syntax` for what is no number, `certain` for what is too large, `unsupported` for hexadecimal floats.
 */
export function numberValue(text: string): Value {
  if (INTEGER.test(text)) return integerValue(text);
  if (/^[+-]?0[xX]/.test(text) && /[pP.]/.test(text)) throw new Fault('unsupported', 'hexadecimal floats are not supported');
  if (text.includes('_')) throw new Fault('unsupported', `${text}: underscores are supported in whole numbers only`);
  const number = Number(text);
  if (!DECIMAL_FLOAT.test(text) || !/[.eE]/.test(text) || !Number.isFinite(number)) {
    throw new Fault('syntax', `${text} is no number that Go knows`);
  }
  return { kind: 'float', type: FLOAT, data: number };
}

function integerValue(text: string): Value {
  const digits = text.replaceAll('_', '').replace(/^[+-]/, '');
  const magnitude = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits);
  const value = text.startsWith('-') ? -magnitude : magnitude;
  if (value !== BigInt.asIntN(64, value)) throw new Fault('certain', `${text} is too large for an int`);
  // A sign hides from Go that the number is hexadecimal, and an E in it makes it a float.
  if (/^[+-]/.test(text) && /[eE]/.test(text)) return { kind: 'float', type: FLOAT, data: Number(value) };
  return intValue(value);
}
