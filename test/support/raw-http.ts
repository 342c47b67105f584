// HTTP/1.1 byte by byte, and HTTP/2 field by field, so that a test can send what no client library would.
import { once } from 'node:events';
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect } from 'node:tls';

/** The client's end of mTLS; without it the client shows no certificate. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** An answer, read to its end. */
export interface RawAnswer {
  /** 0: the connection was closed without an answer. */
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** How to reach a server. */
export interface RawTarget {
  readonly port: number;
  /** Plain text unless given. */
  readonly tls?: { readonly certificate?: ClientCertificate | undefined };
  /** Sent first, as text: the header of the PROXY protocol. */
  readonly preface?: string;
  /** The protocol that is asked for in the handshake. */
  readonly alpn?: string;
}

/** A connection that is ready, its handshake done. Rejects with the handshake's failure. */
export async function openRaw({ port, tls, preface, alpn }: RawTarget): Promise<Socket> {
  const plain = connectPlain(port, '127.0.0.1');
  await once(plain, 'connect');
  if (preface !== undefined) plain.write(preface);
  if (tls === undefined) return plain;
  const socket = connect({
    socket: plain,
    rejectUnauthorized: false,
    ...tls.certificate,
    ...(alpn && { ALPNProtocols: [alpn] }),
  });
  await once(socket, 'secureConnect');
  return socket;
}

/** Sends a head (lines without their ends, written as latin1) and reads the answer until the server closes. */
export async function sendRaw(target: RawTarget, lines: readonly string[], body = ''): Promise<RawAnswer> {
  const socket = await openRaw(target);
  const chunks: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A server that refuses may reset what it has not read; what came before counts.
  socket.on('error', () => resolve());
  socket.on('close', () => resolve());
  socket.on('end', () => resolve());
  socket.setTimeout(10_000, () => socket.destroy());
  socket.write(Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1'));
  await promise;
  socket.destroy();
  return parse(Buffer.concat(chunks).toString('latin1'));
}

function parse(text: string): RawAnswer {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [first = '', ...fields] = head.split('\r\n');
  const headers = new Map(
    fields.map((field) => [field.slice(0, field.indexOf(':')).toLowerCase(), field.replace(/^[^:]*: */, '')]),
  );
  return { status: Number(first.split(' ')[1] ?? 0), headers, body: rest.join('\r\n\r\n') };
}

/** Sends one request over HTTP/2, its fields just so, and reads the answer to its end. */
export async function sendHttp2(
  target: RawTarget,
  fields: readonly (readonly [name: string, value: string])[],
): Promise<RawAnswer> {
  const socket = await openRaw({ ...target, alpn: 'h2' });
  const session = connectHttp2('http://unused', { createConnection: () => socket });
  session.on('error', () => {});
  const { promise, resolve } = Promise.withResolvers<RawAnswer>();
  const answered = new Map<string, string>();
  let body = '';
  // As a list, names may repeat.
  const stream = session.request(
    fields.flatMap(([name, value]) => [name.toLowerCase(), value]),
    { endStream: true },
  );
  const note = (received: IncomingHttpHeaders): void => {
    for (const [name, value] of Object.entries(received)) answered.set(name, String(value));
  };
  stream.on('response', note);
  stream.on('trailers', note);
  stream.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
  stream.on('error', () => {});
  stream.on('close', () => resolve({ status: Number(answered.get(':status') ?? 0), headers: answered, body }));
  stream.setTimeout(10_000, () => stream.close());
  const answer = await promise;
  session.destroy();
  return answer;
}
