import { create, toBinary, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';

/** Bytes before each message on the wire: a flag (1 when compressed) and the length, big-endian. */
export const FRAME_HEADER_BYTES = 5;

/**
 * A message that is already serialised and framed. A handler that gives the same answer often keeps one of these, and each
 * call that answers with it costs no encoding.
 */
export class EncodedMessage {
  /** The five-byte prefix and the message, ready for the wire. Never change it. */
  readonly frame: Uint8Array;

  /** @param message the serialised protobuf message; it is copied */
  constructor(message: Uint8Array) {
    const frame = new Uint8Array(FRAME_HEADER_BYTES + message.length);
    new DataView(frame.buffer).setUint32(1, message.length);
    frame.set(message, FRAME_HEADER_BYTES);
    this.frame = frame;
  }

  /** The serialised message without its prefix. */
  get bytes(): Uint8Array {
    return this.frame.subarray(FRAME_HEADER_BYTES);
  }
}

/**
 * Serialises a message once, for many answers.
 *
 * @example
 * const answer = encodeMessage(X509SVIDResponseSchema, { svids }); // later: return answer
 */
export function encodeMessage<D extends DescMessage>(desc: D, message: MessageInitShape<D>): EncodedMessage {
  return new EncodedMessage(toBinary(desc, create(desc, message)));
}
