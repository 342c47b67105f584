// HTTP/1.1 byte by byte, so that a test can send what no client library would.
import { once } from 'node:events';
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
}

/** A connection that is ready, its handshake done. Rejects with the handshake's failure. */
export async function openRaw({ port, tls }: RawTarget): Promise<Socket> {
  if (tls === undefined) {
    const plain = connectPlain(port, '127.0.0.1');
    await once(plain, 'connect');
    return plain;
  }
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...tls.certificate });
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
