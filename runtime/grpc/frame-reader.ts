import { StatusError, INTERNAL, RESOURCE_EXHAUSTED } from './status.ts';
import { FRAME_HEADER_BYTES } from './encoded-message.ts';

/** One message as it was framed; still compressed when `compressed`. */
export interface Frame {
  readonly compressed: boolean;
  readonly bytes: Uint8Array;
}

/** Below this a message is copied out of the socket's read buffer, so that what a handler keeps of it does not pin 64 KiB. */
const COPY_BELOW_BYTES = 32_768;

/** Counts what is held of unfinished messages, over all calls of a connection. */
export class HeldBytes {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @throws StatusError RESOURCE_EXHAUSTED when there is no room; nothing is taken then */
  take(bytes: number): void {
    if (this.#bytes + bytes > this.#maxBytes) {
      const message = 'too many large messages at once on this connection; wait for answers before sending more';
      throw new StatusError({ code: RESOURCE_EXHAUSTED, message });
    }
    this.#bytes += bytes;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }
}

const EMPTY = new Uint8Array();

/**
 * Cuts a byte stream into length-prefixed gRPC messages. It holds at most one unfinished message, in one buffer that grows
 * with what arrived (never with what was announced), and refuses one that announces more than `maxBytes` at once.
 */
export class FrameReader {
  readonly #maxBytes: number;
  readonly #budget: HeldBytes | undefined;
  #held: Uint8Array = EMPTY;
  #heldBytes = 0;
  #neededBytes = FRAME_HEADER_BYTES;

  constructor(maxBytes: number, budget?: HeldBytes) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /** Whether the stream stands between two messages. */
  get idle(): boolean {
    return this.#heldBytes === 0;
  }

  /**
   * Takes a chunk and gives back the messages that it completes.
   *
   * @throws StatusError INTERNAL on an unknown flag, RESOURCE_EXHAUSTED on a message over the limit
   */
  push(chunk: Uint8Array): readonly Frame[] {
    if (this.#heldBytes === 0) return this.#cut(chunk);
    this.#hold(chunk);
    if (this.#heldBytes < this.#neededBytes) return [];
    const data = this.#held.subarray(0, this.#heldBytes);
    this.release();
    return this.#cut(data);
  }

  /** Lets go of an unfinished message; for calls that end in the middle of one. */
  release(): void {
    this.#budget?.give(this.#held.length);
    this.#held = EMPTY;
    this.#heldBytes = 0;
  }

  #cut(data: Uint8Array): readonly Frame[] {
    const frames: Frame[] = [];
    let rest = data;
    this.#neededBytes = FRAME_HEADER_BYTES;
    while (rest.length >= FRAME_HEADER_BYTES) {
      const bytes = frameBytes(rest, this.#maxBytes);
      if (rest.length < bytes) {
        this.#neededBytes = bytes;
        break;
      }
      frames.push(frameOf(rest.subarray(0, bytes)));
      rest = rest.subarray(bytes);
    }
    if (rest.length > 0) this.#hold(rest);
    return frames;
  }

  // Doubling keeps the copying linear, also for a caller that sends one byte at a time.
  #hold(chunk: Uint8Array): void {
    const bytes = this.#heldBytes + chunk.length;
    if (bytes > this.#held.length) {
      const grown = new Uint8Array(Math.max(bytes, Math.min(this.#neededBytes, bytes * 2)));
      this.#budget?.take(grown.length - this.#held.length);
      grown.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = grown;
    }
    this.#held.set(chunk, this.#heldBytes);
    this.#heldBytes = bytes;
  }
}

function frameBytes(data: Uint8Array, maxBytes: number): number {
  const flag = data[0] ?? 0;
  if (flag > 1) throw new StatusError({ code: INTERNAL, message: `message has the unknown flag ${flag}` });
  const bytes = (((data[1] ?? 0) << 24) | ((data[2] ?? 0) << 16) | ((data[3] ?? 0) << 8) | (data[4] ?? 0)) >>> 0;
  if (bytes > maxBytes) throw tooLarge(bytes, maxBytes);
  return FRAME_HEADER_BYTES + bytes;
}

function frameOf(data: Uint8Array): Frame {
  const end = data.length;
  // Uint8Array's own slice copies, Buffer's does not.
  const bytes =
    end < COPY_BELOW_BYTES ? Uint8Array.prototype.slice.call(data, FRAME_HEADER_BYTES) : data.subarray(FRAME_HEADER_BYTES);
  return { compressed: data[0] === 1, bytes };
}

/** RESOURCE_EXHAUSTED for a message over the limit; `bytes` is undefined when counting stopped at the limit. */
export function tooLarge(bytes: number | undefined, maxBytes: number): StatusError {
  const size = bytes === undefined ? `more than ${maxBytes}` : `${bytes}`;
  const message = `message has ${size} bytes; this server takes up to ${maxBytes}`;
  return new StatusError({ code: RESOURCE_EXHAUSTED, message });
}
