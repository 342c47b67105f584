import { IdentityError } from '../../core/errors.ts';

// The part of the D-Bus wire protocol that method calls with texts and numbers need: D-Bus Specification, "Message Protocol".

/** Kinds of messages. */
export const DBUS_CALL = 1;
export const DBUS_RETURN = 2;
export const DBUS_ERROR = 3;
const LITTLE_ENDIAN = 0x6c;
const BIG_ENDIAN = 0x42;
const FIXED_HEADER_BYTES = 16;
// The standard allows 128 MiB; no answer we ask for is near this.
const MAX_MESSAGE_BYTES = 1024 * 1024;

/** A basic value: number types as number, text types (string, object path, signature) as string. */
export type DbusValue = string | number;

/** A message with the header fields and body types that are used here. */
export interface DbusMessage {
  readonly kind: number;
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly destination?: string;
  readonly sender?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  /** Type codes of the body: `s` text, `o` object path, `u` number, `v` a variant that holds a text. */
  readonly signature?: string;
  readonly body?: readonly DbusValue[];
}

// Header fields by code with the type of each.
const FIELDS = [
  [1, 'path', 'o'],
  [2, 'interface', 's'],
  [3, 'member', 's'],
  [4, 'errorName', 's'],
  [5, 'replySerial', 'u'],
  [6, 'destination', 's'],
  [7, 'sender', 's'],
  [8, 'signature', 'g'],
] as const;

/** A message as bytes, little-endian. */
export function encodeDbusMessage(message: DbusMessage): Buffer {
  const fields = new Writer();
  for (const [code, name, type] of FIELDS) {
    const value = message[name];
    if (value === undefined || value === '') continue;
    fields.align(8);
    fields.bytes(Buffer.of(code));
    fields.value('g', type);
    fields.value(type, value);
  }
  const body = new Writer();
  (message.signature ?? '').split('').forEach((type, index) => body.value(type, message.body?.[index] ?? ''));
  const header = new Writer();
  header.bytes(Buffer.of(LITTLE_ENDIAN, message.kind, 0, 1));
  for (const number of [body.length, message.serial, fields.length]) header.value('u', number);
  header.bytes(fields.result());
  header.align(8);
  header.bytes(body.result());
  return header.result();
}

class Writer {
  readonly #chunks: Buffer[] = [];
  length = 0;

  align(size: number): void {
    this.bytes(Buffer.alloc((size - (this.length % size)) % size));
  }

  bytes(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.length += chunk.length;
  }

  value(type: string, value: DbusValue): void {
    if (type === 'g') {
      this.bytes(Buffer.from(`${String.fromCharCode(String(value).length)}${value}\0`, 'latin1'));
    } else if (type === 'v') {
      this.value('g', 's');
      this.value('s', value);
    } else if (type === 'u') {
      this.align(4);
      const number = Buffer.alloc(4);
      number.writeUInt32LE(Number(value));
      this.bytes(number);
    } else {
      const text = Buffer.from(`${value}\0`);
      this.value('u', text.length - 1);
      this.bytes(text);
    }
  }

  result(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

/**
 * How many bytes the message at the beginning of `bytes` has; undefined while its fixed header is incomplete.
 *
 * @throws IdentityError `unavailable` when it is no message or above 1 MiB
 */
export function dbusMessageLength(bytes: Buffer): number | undefined {
  if (bytes.length < FIXED_HEADER_BYTES) return undefined;
  const bigEndian = isBigEndian(bytes);
  const bodyLength = bigEndian ? bytes.readUInt32BE(4) : bytes.readUInt32LE(4);
  const fieldsLength = bigEndian ? bytes.readUInt32BE(12) : bytes.readUInt32LE(12);
  const length = padded(FIXED_HEADER_BYTES + fieldsLength) + bodyLength;
  if (length > MAX_MESSAGE_BYTES) throw malformed();
  return length;
}

/**
 * Reads one whole message. The body is read when its types are known here; else `body` is undefined.
 *
 * @throws IdentityError `unavailable`
 */
export function decodeDbusMessage(bytes: Buffer): DbusMessage {
  try {
    const reader = new Reader(bytes, isBigEndian(bytes));
    const [kind, serial] = [bytes.readUInt8(1), reader.numberAt(8)];
    const end = FIXED_HEADER_BYTES + reader.numberAt(12);
    reader.offset = FIXED_HEADER_BYTES;
    const fields: Record<string, DbusValue> = {};
    while (reader.offset < end) {
      reader.align(8);
      const code = reader.byte();
      const value = reader.value('v');
      const [, name] = FIELDS.find(([known]) => known === code) ?? [];
      if (name !== undefined) fields[name] = value;
    }
    reader.offset = padded(end);
    const types = String(fields['signature'] ?? '');
    const body = /^[sogvu]*$/.test(types) ? { body: types.split('').map((type) => reader.value(type)) } : {};
    return { kind, serial, ...fields, ...body };
  } catch (cause) {
    throw malformed(cause);
  }
}

class Reader {
  readonly #bytes: Buffer;
  readonly #bigEndian: boolean;
  offset = 0;

  constructor(bytes: Buffer, bigEndian: boolean) {
    this.#bytes = bytes;
    this.#bigEndian = bigEndian;
  }

  align(size: number): void {
    this.offset = Math.ceil(this.offset / size) * size;
  }

  byte(): number {
    return this.#bytes.readUInt8(this.offset++);
  }

  numberAt(offset: number): number {
    return this.#bigEndian ? this.#bytes.readUInt32BE(offset) : this.#bytes.readUInt32LE(offset);
  }

  value(type: string): DbusValue {
    switch (type) {
      case 'v':
        return this.value(String(this.value('g')));
      case 'u':
        this.align(4);
        this.offset += 4;
        return this.numberAt(this.offset - 4);
      case 'g':
        return this.#text(this.byte());
      case 's':
      case 'o':
        return this.#text(Number(this.value('u')));
      default:
        throw malformed();
    }
  }

  #text(length: number): string {
    const start = this.offset;
    this.offset += length + 1;
    if (this.offset > this.#bytes.length) throw malformed();
    return this.#bytes.toString('utf8', start, start + length);
  }
}

function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

function isBigEndian(bytes: Buffer): boolean {
  const mark = bytes.readUInt8(0);
  if (mark !== LITTLE_ENDIAN && mark !== BIG_ENDIAN) throw malformed();
  return mark === BIG_ENDIAN;
}

function malformed(cause?: unknown): IdentityError {
  return new IdentityError('unavailable', 'the bus sent a message of an unknown form', { cause });
}
