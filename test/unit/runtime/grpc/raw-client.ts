import http2, { type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { fromBinary, create, toBinary, type DescMessage, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { GrpcServer, type GrpcServerOptions } from '../../../../runtime/grpc/server.ts';

/** A server on a loopback port, and one client connection to it. */
export interface Pair<P> extends AsyncDisposable {
  readonly server: GrpcServer<P>;
  readonly session: ClientHttp2Session;
  readonly port: number;
  connect(options?: http2.ClientSessionOptions): ClientHttp2Session;
}

/** Starts a server that treats every connection as coming from `peer`. */
export async function startPair<P>(peer: P, options: GrpcServerOptions<P> = {}): Promise<Pair<P>> {
  const server = new GrpcServer<P>(options);
  const listener = net.createServer((socket) => server.handleConnection(socket, peer));
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve);
  });
  // The cast is sound: a listener on a TCP port has an AddressInfo.
  const { port } = listener.address() as AddressInfo;
  const sessions: ClientHttp2Session[] = [];
  const connect = (clientOptions: http2.ClientSessionOptions = {}): ClientHttp2Session => {
    const session = http2.connect(`http://127.0.0.1:${port}`, clientOptions);
    session.on('error', () => {});
    sessions.push(session);
    return session;
  };
  return {
    server,
    port,
    session: connect(),
    connect,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      listener.close();
      await server.close({ graceMs: 0 });
    },
  };
}

/** One message as it goes on the wire. */
export function frame(bytes: Uint8Array, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** A message, serialised and framed. */
export function framed<D extends DescMessage>(desc: D, message: MessageInitShape<D>): Buffer {
  return frame(toBinary(desc, create(desc, message)));
}

/** The messages in bytes that were received. */
export function messagesOf<D extends DescMessage>(desc: D, data: Buffer): MessageShape<D>[] {
  const messages: MessageShape<D>[] = [];
  for (let at = 0; at < data.length;) {
    const length = data.readUInt32BE(at + 1);
    messages.push(fromBinary(desc, data.subarray(at + 5, at + 5 + length)));
    at += 5 + length;
  }
  return messages;
}

/** What came back for a request. */
export interface Reply {
  readonly headers: IncomingHttpHeaders;
  /** The trailers, or the headers of an answer that has nothing else. */
  readonly trailers: IncomingHttpHeaders;
  readonly data: Buffer;
  readonly rstCode: number;
}

/** Opens a request with the headers that every gRPC client sends, and those given. */
export function open(session: ClientHttp2Session, path: string, headers: http2.OutgoingHttpHeaders = {}): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    te: 'trailers',
    'content-type': 'application/grpc',
    ...headers,
  });
  stream.on('error', () => {});
  return stream;
}

/** Waits for the whole answer. */
export function replyOf(stream: ClientHttp2Stream): Promise<Reply> {
  return new Promise((resolve) => {
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders | undefined;
    const chunks: Buffer[] = [];
    stream.on('response', (received) => {
      headers = received;
    });
    stream.on('trailers', (received) => {
      trailers = received;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('close', () =>
      resolve({ headers, trailers: trailers ?? headers, data: Buffer.concat(chunks), rstCode: stream.rstCode ?? 0 }),
    );
  });
}

/** Sends a whole request and waits for the whole answer. */
export function request(
  session: ClientHttp2Session,
  path: string,
  { body = Buffer.alloc(5), headers = {} }: { body?: Uint8Array; headers?: http2.OutgoingHttpHeaders } = {},
): Promise<Reply> {
  const stream = open(session, path, headers);
  stream.end(body);
  return replyOf(stream);
}

/** Waits until a count that has begun to rise stays the same, and gives it back. */
export async function settled(count: () => number): Promise<number> {
  let before = 0;
  for (;;) {
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
    const now = count();
    if (now > 0 && now === before) return now;
    before = now;
  }
}
