import { IdentityError } from '../../core/errors.ts';

/** A value of outgoing metadata: text, or bytes under a name that ends in `-bin`. */
export type MetadataValue = string | Uint8Array;

/** What a caller sent with its request. Names are lower case; those that end in `-bin` hold bytes. */
export class Metadata {
  readonly #raw: readonly string[];

  /** @param raw names and values in turn, as `node:http2` gives them */
  constructor(raw: readonly string[]) {
    this.#raw = raw;
  }

  /** The first value under a name. */
  get(name: string): string | undefined {
    const raw = this.#raw;
    for (let index = 0; index < raw.length; index += 2) if (raw[index] === name) return raw[index + 1];
    return undefined;
  }

  /** All values under a name, in the order they were sent. */
  getAll(name: string): string[] {
    const raw = this.#raw;
    const values: string[] = [];
    for (let index = 0; index < raw.length; index += 2) if (raw[index] === name) values.push(raw[index + 1] ?? '');
    return values;
  }

  /** The first value under a `-bin` name. */
  getBinary(name: string): Uint8Array | undefined {
    return this.getAllBinary(name)[0];
  }

  /** All values under a `-bin` name; a sender may join several with commas. */
  getAllBinary(name: string): Uint8Array[] {
    return this.getAll(name)
      .flatMap((value) => value.split(','))
      .map((value) => Buffer.from(value, 'base64'));
  }

  /** All names but those of HTTP/2 itself. */
  names(): string[] {
    const names = this.#raw.filter((text, index) => index % 2 === 0 && !text.startsWith(':'));
    return [...new Set(names)];
  }
}

const NAME = /^[0-9a-z_.-]+$/;
const TEXT = /^[\x20-\x7e]*$/;

/**
 * One value as it goes on the wire.
 *
 * @throws IdentityError `internal` when a name or value cannot be sent: a handler's mistake
 */
export function encodeMetadata(name: string, value: MetadataValue): string {
  if (!NAME.test(name) || name.startsWith('grpc-')) throw new IdentityError('internal', `"${name}" is no metadata name`);
  if (name.endsWith('-bin') !== (typeof value !== 'string')) {
    throw new IdentityError('internal', `metadata "${name}": bytes go under names that end in -bin, text under others`);
  }
  if (typeof value !== 'string') return Buffer.from(value).toString('base64').replace(/=+$/, '');
  if (!TEXT.test(value)) throw new IdentityError('internal', `metadata "${name}": the value is not printable ASCII`);
  return value;
}
