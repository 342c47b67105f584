// Clients on grpc-java, java-spiffe among them, name the path of a unix socket as their authority. RFC 9113 section 8.3.1
// has no room for the slashes: nghttp2 resets such a request before anybody here sees it. So they are replaced on the way
// in. Nothing reads the authority on a unix socket.
import type { Socket } from 'node:net';
import { Duplex, pipeline, Transform, type TransformCallback } from 'node:stream';

const PREFACE_BYTES = 24;
const FRAME_HEAD_BYTES = 9;
/** Longer ones are passed on as they are. */
const MAX_HEADERS_BYTES = 4_096;
const HEADERS = 0x1;
const PADDED = 0x8;
const PRIORITY = 0x20;
const MAX_CONCURRENT_STREAMS = 0x3;
/** Of `:authority` in the table of RFC 7541 appendix A. */
const AUTHORITY_INDEX = 1;
const DASH = 0x2d;

/**
 * Waits for what a client sends first and gives the stream to read it from: the socket itself, which `node:http2` reads
 * without JavaScript, unless the client may name a path. Those are told by what Netty sends first: that the server may open
 * no stream. (gRPC's C core sends it too and is served as well the long way.)
 *
 * @param timeoutMs after which a silent client is cut off
 */
export function onOpening(socket: Socket, timeoutMs: number, serve: (stream: Duplex) => void): void {
  socket.setTimeout(timeoutMs, () => socket.destroy());
  // It holds up nobody's exit until it is the server's to close.
  socket.unref();
  socket.once('readable', () => {
    socket.ref();
    socket.setTimeout(0);
    socket.removeAllListeners('timeout');
    // A Buffer, as no encoding is set.
    const opening = socket.read() as Buffer | null;
    if (opening === null) socket.destroy();
    else {
      socket.unshift(opening);
      serve(mayNamePath(opening) ? throughFilter(socket) : socket);
    }
  });
}

function throughFilter(socket: Socket): Duplex {
  const readable = new PathAuthorityFilter();
  pipeline(socket, readable, () => {});
  return Duplex.from({ readable, writable: socket });
}

/** Whether the first SETTINGS allow the server no stream, or are not there in full. */
function mayNamePath(opening: Buffer): boolean {
  const start = PREFACE_BYTES + FRAME_HEAD_BYTES;
  if (opening.length < start) return true;
  const end = start + opening.readUIntBE(PREFACE_BYTES, 3);
  for (let at = start; at < end; at += 6) {
    if (at + 6 > opening.length) return true;
    if (opening.readUInt16BE(at) === MAX_CONCURRENT_STREAMS && opening.readUInt32BE(at + 2) === 0) return true;
  }
  return false;
}

/** Passes on what an HTTP/2 client sends, with dashes for the slashes in `:authority`. */
export class PathAuthorityFilter extends Transform {
  #held: Buffer = Buffer.alloc(0);
  /** How many bytes to pass on before the next frame. */
  #passing = PREFACE_BYTES;

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let rest = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    while (rest.length > 0) {
      this.#passing ||= nextFrame(rest);
      if (this.#passing === 0) break;
      const passed = rest.subarray(0, this.#passing);
      this.#passing -= passed.length;
      this.push(passed);
      rest = rest.subarray(passed.length);
    }
    this.#held = rest;
    done();
  }

  override _flush(done: TransformCallback): void {
    done(null, this.#held);
  }
}

/** How long the frame at the start is, once it may be passed on; 0 while more of it is needed. */
function nextFrame(bytes: Buffer): number {
  if (bytes.length < FRAME_HEAD_BYTES) return 0;
  const length = bytes.readUIntBE(0, 3);
  const frameBytes = FRAME_HEAD_BYTES + length;
  if (bytes[3] !== HEADERS || length > MAX_HEADERS_BYTES) return frameBytes;
  if (bytes.length < frameBytes) return 0;
  replaceSlashes(blockOf(bytes.subarray(0, frameBytes)));
  return frameBytes;
}

/** The header block of a HEADERS frame; padding at its end is not looked at. */
function blockOf(frame: Buffer): Buffer {
  const flags = frame[4] ?? 0;
  const padding = (flags & PADDED) === 0 ? 0 : 1 + (frame[FRAME_HEAD_BYTES] ?? 0);
  const start = FRAME_HEAD_BYTES + (padding > 0 ? 1 : 0) + ((flags & PRIORITY) === 0 ? 0 : 5);
  return frame.subarray(start, Math.max(start, frame.length - Math.max(0, padding - 1)));
}

/**
 * In place: the length stays, so that both sides' tables (RFC 7541 section 2.3.2) stay alike. A value in Huffman's code is
 * left alone; Netty writes no short one so.
 */
function replaceSlashes(block: Buffer): void {
  const reader = new HeaderBlock(block);
  for (;;) {
    const value = reader.nextAuthority();
    if (value === undefined) return;
    for (let at = value.indexOf('/'); at >= 0; at = value.indexOf('/', at + 1)) value[at] = DASH;
  }
}

/** Walks the representations of RFC 7541 section 6 without decoding what they stand for. */
class HeaderBlock {
  readonly #block: Buffer;
  #at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  /** The next literal value of `:authority` that is in plain bytes; undefined at the end. */
  nextAuthority(): Buffer | undefined {
    while (this.#at < this.#block.length) {
      const first = this.#block[this.#at] ?? 0;
      if (first >= 0x80) this.#integer(7);
      else if ((first & 0xe0) === 0x20) this.#integer(5);
      else {
        const index = this.#integer(first >= 0x40 ? 6 : 4);
        const name = index === 0 ? this.#string()?.toString('latin1') : undefined;
        const value = this.#string();
        if (value !== undefined && (index === AUTHORITY_INDEX || name === ':authority')) return value;
      }
    }
    return undefined;
  }

  /** @returns the bytes, or undefined for Huffman's code */
  #string(): Buffer | undefined {
    const isCoded = (this.#block[this.#at] ?? 0) >= 0x80;
    const length = this.#integer(7);
    const start = this.#at;
    this.#at += length;
    return isCoded ? undefined : this.#block.subarray(start, this.#at);
  }

  /** RFC 7541 section 5.1. What is too long ends the walk: nghttp2 refuses it. */
  #integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = (this.#block[this.#at++] ?? 0) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 14; shift += 7) {
      const byte = this.#block[this.#at++] ?? 0;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    this.#at = this.#block.length;
    return 0;
  }
}
