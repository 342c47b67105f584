import { TAG } from './der.ts';

/** Writes one value: tag, minimal length, and the parts one after the other as its content. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const header = length < 0x80 ? 2 : length < 0x100 ? 3 : length < 0x10000 ? 4 : 5;
  const bytes = new Uint8Array(header + length);
  bytes[0] = tag;
  if (header === 2) bytes[1] = length;
  else {
    bytes[1] = 0x80 | (header - 2);
    for (let index = header - 1, rest = length; index > 1; index--, rest >>= 8) bytes[index] = rest & 0xff;
  }
  let position = header;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

/** A SEQUENCE of these values. */
export const derSequence = (...parts: readonly Uint8Array[]): Uint8Array => der(TAG.sequence, ...parts);
/** A SET of these values, in the order given. */
export const derSet = (...parts: readonly Uint8Array[]): Uint8Array => der(TAG.set, ...parts);
/** An OCTET STRING. */
export const derOctetString = (bytes: Uint8Array): Uint8Array => der(TAG.octetString, bytes);
/** NULL. */
export const derNull: Uint8Array = Uint8Array.of(TAG.null, 0);
/** BOOLEAN TRUE; FALSE is never written, as it is the default wherever certificates have a BOOLEAN. */
export const derTrue: Uint8Array = Uint8Array.of(TAG.boolean, 1, 0xff);

/** A BIT STRING of whole bytes, or with unused bits at its end. */
export function derBitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return der(TAG.bitString, Uint8Array.of(unusedBits), bytes);
}

/** A non-negative INTEGER from its bytes, big-endian. */
export function derUnsigned(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const minimal = bytes.subarray(start);
  return (minimal[0] ?? 0) < 0x80 && minimal.length > 0 ? der(TAG.integer, minimal) : der(TAG.integer, Uint8Array.of(0), minimal);
}

/** A non-negative INTEGER below 2^31. */
export function derSmallInteger(value: number): Uint8Array {
  return derUnsigned(Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff));
}

/** ASCII text under any tag; the caller has checked that it is ASCII. */
export function derAscii(tag: number, text: string): Uint8Array {
  return der(tag, Buffer.from(text, 'latin1'));
}

/** An OBJECT IDENTIFIER from its dotted form, such as `2.5.29.17`. */
export function derOid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return der(TAG.objectIdentifier, Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)));
}

function base128(arc: number): number[] {
  const bytes = [arc % 128];
  for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) bytes.unshift(0x80 | (left % 128));
  return bytes;
}

/** A Time as RFC 5280 §4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime from 2050; fractions of a second are dropped. */
export function derTime(timeMs: number): Uint8Array {
  const digits = `${new Date(timeMs).toISOString().slice(0, 19).replaceAll(/\D/g, '')}Z`;
  const isUtcTime = digits >= '1950' && digits < '2050';
  return isUtcTime ? derAscii(TAG.utcTime, digits.slice(2)) : derAscii(TAG.generalizedTime, digits);
}
