import { IdentityError } from '../core/errors.ts';

/** The identifier octets that certificates and CSRs use. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Tag of a context-specific primitive value, such as `[6] IMPLICIT IA5String`. */
export const contextTag = (number: number): number => 0x80 | number;
/** Tag of a context-specific constructed value, such as `[3] EXPLICIT Extensions`. */
export const contextConstructedTag = (number: number): number => 0xa0 | number;

const MAX_DEPTH = 16;

/** A BIT STRING. */
export interface BitString {
  readonly bytes: Uint8Array;
  /** How many of the lowest bits of the last byte are padding (they are zero). */
  readonly unusedBits: number;
}

/**
 * Reads DER (X.690) from left to right and refuses everything that BER allows beyond it: indefinite and non-minimal lengths,
 * non-minimal integers, other booleans than 00 and ff, padding bits that are set. Results are views of the input, not copies.
 *
 * @example
 * const reader = new DerReader(der, 'certificate');
 * const certificate = reader.enter(TAG.sequence);
 * reader.finish(); // nothing may follow
 */
export class DerReader {
  readonly field: string;
  readonly #bytes: Uint8Array;
  readonly #depth: number;
  #position: number;

  constructor(bytes: Uint8Array, field: string, depth = 0) {
    if (depth > MAX_DEPTH) throw new IdentityError('invalid_argument', 'DER is nested too deep', { field });
    this.#bytes = bytes;
    this.field = field;
    this.#depth = depth;
    this.#position = 0;
  }

  /** Whether everything has been read. */
  get atEnd(): boolean {
    return this.#position >= this.#bytes.length;
  }

  /** The next tag, or undefined at the end. */
  peekTag(): number | undefined {
    return this.#bytes[this.#position];
  }

  /** An error about what is being read. */
  fault(message: string): IdentityError {
    return new IdentityError('invalid_argument', message, { field: this.field });
  }

  /** Fails unless everything has been read. */
  finish(): void {
    if (!this.atEnd) throw this.fault('DER has trailing bytes');
  }

  /** The content of the next value, which must have this tag. */
  readContent(tag: number): Uint8Array {
    const start = this.#readHeader(tag);
    return this.#bytes.subarray(start, this.#position);
  }

  /** The next value as a whole, tag and length included; of any tag unless one is given. */
  readRaw(tag = this.peekTag()): Uint8Array {
    const start = this.#position;
    this.#readHeader(tag ?? 0);
    return this.#bytes.subarray(start, this.#position);
  }

  /** A reader of the next value's content, for constructed values. */
  enter(tag: number): DerReader {
    return new DerReader(this.readContent(tag), this.field, this.#depth + 1);
  }

  /** As {@link enter}, or undefined when the next value has another tag. */
  enterOptional(tag: number): DerReader | undefined {
    return this.peekTag() === tag ? this.enter(tag) : undefined;
  }

  readBoolean(): boolean {
    const content = this.readContent(TAG.boolean);
    const [value] = content;
    if (content.length !== 1 || (value !== 0 && value !== 0xff)) throw this.fault('DER boolean is neither 00 nor ff');
    return value === 0xff;
  }

  /** The content of an INTEGER (two's complement, big-endian). */
  readInteger(tag: number = TAG.integer): Uint8Array {
    const content = this.readContent(tag);
    const [first, second] = content;
    if (first === undefined) throw this.fault('DER integer is empty');
    if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))) {
      throw this.fault('DER integer is not minimal');
    }
    return content;
  }

  /** A non-negative INTEGER without its sign byte, big-endian; zero is one zero byte. */
  readUnsigned(tag?: number): Uint8Array {
    const content = this.readInteger(tag);
    if ((content[0] ?? 0) >= 0x80) throw this.fault('DER integer is negative');
    return content[0] === 0 && content.length > 1 ? content.subarray(1) : content;
  }

  /** A non-negative INTEGER below 2^31. */
  readSmallInteger(tag?: number): number {
    const bytes = this.readUnsigned(tag);
    if (bytes.length > 4 || (bytes.length === 4 && (bytes[0] ?? 0) >= 0x80)) throw this.fault('DER integer is too large');
    return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  }

  readBitString(tag: number = TAG.bitString): BitString {
    const content = this.readContent(tag);
    const [unusedBits] = content;
    const last = content[content.length - 1] ?? 0;
    if (unusedBits === undefined || unusedBits > 7 || (content.length === 1 && unusedBits > 0)) {
      throw this.fault('DER bit string has a wrong count of unused bits');
    }
    if ((last & ((1 << unusedBits) - 1)) !== 0) throw this.fault('DER bit string has padding bits that are set');
    return { bytes: content.subarray(1), unusedBits };
  }

  /** A BIT STRING of whole bytes, such as a key or a signature. */
  readBitStringBytes(): Uint8Array {
    const { bytes, unusedBits } = this.readBitString();
    if (unusedBits !== 0) throw this.fault('DER bit string is not of whole bytes');
    return bytes;
  }

  /** A dotted object identifier, such as `2.5.29.17`. */
  readOid(): string {
    return decodeOid(this.readContent(TAG.objectIdentifier), this);
  }

  /** ASCII text (IA5String), by default under its own tag. */
  readIa5String(tag: number = TAG.ia5String): string {
    const content = this.readContent(tag);
    if (content.some((byte) => byte >= 0x80)) throw this.fault('text has a byte beyond ASCII');
    return latin1(content);
  }

  readNull(): void {
    if (this.readContent(TAG.null).length !== 0) throw this.fault('DER null is not empty');
  }

  /** A UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 writes them (to the second, in UTC); milliseconds since 1970. */
  readTime(): number {
    const isUtcTime = this.peekTag() === TAG.utcTime;
    const text = this.readIa5String(isUtcTime ? TAG.utcTime : TAG.generalizedTime);
    const digits = isUtcTime && /^\d{12}Z$/.test(text) ? (text < '5' ? '20' : '19') + text : isUtcTime ? '' : text;
    const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits)?.slice(1).map(Number);
    if (parts === undefined) throw this.fault('time is not written as YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ');
    const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts;
    const timeMs = Date.UTC(year, month - 1, day, hour, minute, second);
    const isReal = new Date(timeMs).toISOString().replaceAll(/\D/g, '').slice(0, 14) === digits.slice(0, 14);
    if (!isReal || year < 1950) throw this.fault('time is not a real time');
    return timeMs;
  }

  /** Reads tag and length, leaves the position behind the value, returns where its content starts. */
  #readHeader(tag: number): number {
    const bytes = this.#bytes;
    const found = bytes[this.#position];
    if (found !== tag) throw this.fault(found === undefined ? 'DER ends too early' : 'DER has an unexpected tag');
    // Tag numbers beyond 30 take more bytes; nothing in X.509 has them.
    if ((found & 0x1f) === 0x1f) throw this.fault('DER has a tag number beyond 30');
    let start = this.#position + 2;
    let length = bytes[this.#position + 1] ?? 0xff;
    if (length >= 0x80) {
      const count = length & 0x7f;
      // 0 is the indefinite form; more than 3 bytes would be beyond 16 MB.
      if (count === 0 || count > 3) throw this.fault('DER has an indefinite or over-long length');
      length = 0;
      for (let index = 0; index < count; index++) length = length * 256 + (bytes[start + index] ?? 0);
      if (length < 0x80 || (count > 1 && length < 256 ** (count - 1))) throw this.fault('DER has a length that is not minimal');
      start += count;
    }
    if (start + length > bytes.length) throw this.fault('DER ends too early');
    this.#position = start + length;
    return start;
  }
}

/** One character for each byte. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

function decodeOid(content: Uint8Array, reader: DerReader): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const [index, byte] of content.entries()) {
    if (arc === 0 && byte === 0x80) throw reader.fault('object identifier is not minimal');
    if (arc >= 2 ** 40) throw reader.fault('object identifier has an arc that is too large');
    arc = arc * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      if (arcs.length === 0) {
        const first = Math.min(2, Math.floor(arc / 40));
        arcs.push(first, arc - first * 40);
      } else arcs.push(arc);
      arc = 0;
    } else if (index === content.length - 1) throw reader.fault('object identifier ends too early');
  }
  if (arcs.length === 0) throw reader.fault('object identifier is empty');
  return arcs.join('.');
}

/**
 * Takes apart DER values that stand one after the other, such as the certificates in a Workload API message.
 *
 * @returns each value as a whole, as views of the input
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function splitDer(concatenated: Uint8Array, field = 'certificates'): readonly Uint8Array[] {
  const reader = new DerReader(concatenated, field);
  const values: Uint8Array[] = [];
  while (!reader.atEnd) values.push(reader.readRaw(TAG.sequence));
  return values;
}
