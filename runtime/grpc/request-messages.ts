import { fromBinary, type DescMessage, type Message } from '@bufbuild/protobuf';
import { inflate, type Encoding } from './compression.ts';
import type { Frame } from './frame-reader.ts';
import { INTERNAL, StatusError } from './status.ts';

/** How the messages of a request are read. */
export interface MessageFormat {
  readonly desc: DescMessage;
  readonly encoding: Encoding;
  readonly maxBytes: number;
}

// A request is read, never passed on: to keep what is not known of it would cost a fifth of reading it.
const WITHOUT_UNKNOWN = { readUnknownFields: false };

/** @throws StatusError INTERNAL when the bytes are no such message (https://grpc.io/docs/guides/status-codes/) */
export function decodeMessage(desc: DescMessage, bytes: Uint8Array): Message {
  try {
    return fromBinary(desc, bytes, WITHOUT_UNKNOWN);
  } catch {
    throw new StatusError({ code: INTERNAL, message: `the request is not a valid ${desc.typeName}` });
  }
}

/** The message of a frame, inflated when it is compressed. */
export function readMessage(frame: Frame, { desc, encoding, maxBytes }: MessageFormat): Message | Promise<Message> {
  if (!frame.compressed) return decodeMessage(desc, frame.bytes);
  return inflate(frame, encoding, maxBytes).then((bytes) => decodeMessage(desc, bytes));
}

/** Lets the sender go on, or holds it back. */
export interface Flow {
  pause(): void;
  resume(): void;
}

/**
 * The messages of a streaming request, pulled by the handler. While one waits to be pulled the HTTP/2 stream is paused, so
 * that a sender gets no further than the flow-control window ahead of the handler.
 */
export class RequestMessages implements AsyncIterableIterator<Message> {
  readonly #format: MessageFormat;
  readonly #flow: Flow;
  #frames: Frame[] = [];
  #next = 0;
  #ended = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(format: MessageFormat, flow: Flow) {
    this.#format = format;
    this.#flow = flow;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Frames that arrived. */
  push(frames: readonly Frame[]): void {
    if (frames.length === 0 || this.#ended) return;
    this.#frames = [...this.#frames.slice(this.#next), ...frames];
    this.#next = 0;
    this.#flow.pause();
    this.#wake?.();
  }

  /** No more will arrive; with an error, the handler gets it after what already arrived. */
  end(failure?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<Message, undefined>> {
    for (;;) {
      const frame = this.#frames[this.#next];
      if (frame !== undefined) {
        this.#next += 1;
        return { done: false, value: await readMessage(frame, this.#format) };
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return { done: true, value: undefined };
      await this.#more();
    }
  }

  /** The handler wants no more. */
  return(): Promise<IteratorResult<Message, undefined>> {
    this.#frames = [];
    this.#next = 0;
    this.#failure = undefined;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #more(): Promise<void> {
    this.#frames = [];
    this.#next = 0;
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#flow.resume();
    });
  }
}
