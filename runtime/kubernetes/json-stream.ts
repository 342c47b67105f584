import { IdentityError } from '../../core/errors.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const NEWLINE = 0x0a;
const COMMA = 0x2c;
const SPACE = 0x20;

/** No object may be larger: etcd's own limit is 1.5 MiB. */
export const MAX_OBJECT_BYTES = 16 * 1024 * 1024;
/** Items are inside the outermost object and its list. */
const ITEMS_DEPTH = 2;
/** Longer keys are not looked for. */
const MAX_KEY_CHARS = 16;

/** Gathers the bytes of one piece of JSON that may span chunks. */
class Piece {
  #parts: Buffer[] = [];
  #size = 0;

  add(part: Buffer): void {
    if (part.length === 0) return;
    this.#size += part.length;
    if (this.#size > MAX_OBJECT_BYTES) {
      throw new IdentityError('unavailable', `the API server sent an object of more than ${MAX_OBJECT_BYTES} bytes`);
    }
    this.#parts.push(part);
  }

  get empty(): boolean {
    return this.#size === 0;
  }

  /** The bytes so far as text; starts anew. */
  take(): string {
    const [only] = this.#parts;
    const whole = this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#size = 0;
    return whole.toString('utf8');
  }
}

/** Splits a stream into its lines, as a watch sends its events. */
export class LineSplitter {
  readonly #piece = new Piece();

  /** The lines that end in this chunk. */
  *push(chunk: Buffer): Generator<string, void, undefined> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#piece.add(chunk.subarray(start, end));
      start = end + 1;
      if (!this.#piece.empty) yield this.#piece.take();
    }
    this.#piece.add(chunk.subarray(start));
  }
}

/**
 * Splits a list answer into its items as it arrives, so that a page of a list never exists as one text or one object. What is
 * around the items is given back at the end. Only strings and nesting are followed: whether an item is valid JSON shows when
 * that item is parsed.
 */
export class ListSplitter {
  readonly #envelope = new Piece();
  readonly #item = new Piece();
  #depth = 0;
  #inString = false;
  #escaped = false;
  #inItems = false;
  /** The last string directly in the outermost object: before a bracket, that is the bracket's key. */
  #key = '';

  /** The items that end in this chunk, as text. @throws IdentityError `unavailable` when it cannot be a list */
  *push(chunk: Buffer): Generator<string, void, undefined> {
    // Where the part of this chunk that belongs to no piece yet begins.
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (this.#inString) {
        this.#insideString(byte);
      } else if (byte === QUOTE) {
        if (this.#betweenItems()) throw noList();
        this.#inString = true;
        if (this.#depth === 1) this.#key = '';
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (this.#opensItems(byte)) {
          this.#envelope.add(chunk.subarray(start, at + 1));
          this.#inItems = true;
        } else if (this.#betweenItems()) {
          if (byte !== OPEN_BRACE) throw noList();
          start = at;
        }
        this.#depth += 1;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#depth -= 1;
        if (this.#inItems && this.#depth === ITEMS_DEPTH) {
          this.#item.add(chunk.subarray(start, at + 1));
          yield this.#item.take();
        } else if (this.#inItems && this.#depth < ITEMS_DEPTH) {
          this.#inItems = false;
          start = at;
        }
      } else if (this.#betweenItems() && byte !== COMMA && byte > SPACE) {
        throw noList();
      }
    }
    if (!this.#inItems) this.#envelope.add(chunk.subarray(start));
    else if (this.#depth > ITEMS_DEPTH) this.#item.add(chunk.subarray(start));
  }

  /** What surrounded the items, as text; the list in it is empty. @throws IdentityError `unavailable` when it is not complete */
  end(): string {
    if (this.#depth !== 0 || this.#inString) throw noList();
    return this.#envelope.take();
  }

  #insideString(byte: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (byte === BACKSLASH) this.#escaped = true;
    else if (byte === QUOTE) this.#inString = false;
    else if (this.#depth === 1 && this.#key.length < MAX_KEY_CHARS) this.#key += String.fromCharCode(byte);
  }

  #betweenItems(): boolean {
    return this.#inItems && this.#depth === ITEMS_DEPTH;
  }

  #opensItems(byte: number): boolean {
    return byte === OPEN_BRACKET && this.#depth === 1 && this.#key === 'items';
  }
}

function noList(): IdentityError {
  return new IdentityError('unavailable', 'what answered to a list is no API server: it sent no list of objects');
}
