import net from 'node:net';

/** HTTP/2 frame types (RFC 9113 section 6). */
export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** A client that speaks HTTP/2 by hand, so that it can do what no library does. */
export class RawFrames implements Disposable {
  readonly socket: net.Socket;
  readonly received: RawFrame[] = [];
  readonly closed: Promise<void>;
  #data = Buffer.alloc(0);
  #wake: () => void = () => {};

  /** @param target a loopback port, or the path of a unix socket */
  constructor(target: number | string) {
    this.socket = typeof target === 'string' ? net.connect(target) : net.connect(target, '127.0.0.1');
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.once('close', () => this.#wake());
    this.socket.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  /** The connection preface and empty settings. */
  greet(): this {
    this.socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    return this.send(SETTINGS, 0, 0);
  }

  send(type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array()): this {
    this.socket.write(rawFrame(type, flags, streamId, payload));
    return this;
  }

  /** Opens a gRPC request. */
  request(streamId: number, path: string, fields: Readonly<Record<string, string>> = {}): this {
    return this.send(HEADERS, END_HEADERS, streamId, requestHeaders(path, fields));
  }

  /** Waits for a frame; frames before it are kept in `received`. */
  async frame(matches: (frame: RawFrame) => boolean): Promise<RawFrame> {
    for (;;) {
      const found = this.received.find(matches);
      if (found !== undefined) return found;
      if (this.socket.destroyed) throw new Error('the connection was closed');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #take(chunk: Buffer): void {
    this.#data = Buffer.concat([this.#data, chunk]);
    while (this.#data.length >= 9 && this.#data.length >= 9 + this.#data.readUIntBE(0, 3)) {
      const end = 9 + this.#data.readUIntBE(0, 3);
      const [type = 0, flags = 0] = this.#data.subarray(3, 5);
      this.received.push({ type, flags, streamId: this.#data.readUInt32BE(5), payload: this.#data.subarray(9, end) });
      this.#data = this.#data.subarray(end);
    }
    this.#wake();
  }
}

/** One HTTP/2 frame. */
export function rawFrame(type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** The header block of a gRPC request. */
export function requestHeaders(path: string, fields: Readonly<Record<string, string>> = {}): Buffer {
  const all = { ':method': 'POST', ':scheme': 'http', ':path': path, ':authority': 'x', te: 'trailers', ...fields };
  return headerBlock({ ...all, 'content-type': 'application/grpc' });
}

// HPACK literals without indexing and without Huffman coding (RFC 7541 section 6.2.2).
function headerBlock(fields: Readonly<Record<string, string>>): Buffer {
  const parts = Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]);
  return Buffer.concat(parts);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}
