// gRPC calls whose bytes no client library would send.
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { connect as connectNet } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { encodePem } from '../../spiffe/certificate.ts';
import type { ClientIdentity } from './running-ca.ts';

const CANCEL = 8;
/** After this long without a word a stream has taken the request. */
const SILENCE_MS = 1_000;

/** How a call ended. */
export interface RawStatus {
  /** gRPC's number; -1 when the stream ended without a status, 0 when it began to answer or waits. */
  readonly code: number;
  readonly message: string;
}

/** An HTTP/2 connection to a unix socket. */
export function rawUnix(path: string): ClientHttp2Session {
  return quiet(connectHttp2('http://localhost', { maxSessionMemory: 1_000, createConnection: () => connectNet(path) }));
}

/** An HTTP/2 connection over TLS, to whatever answers. */
export function rawTls(port: number, identity?: ClientIdentity): ClientHttp2Session {
  const pem = identity && {
    cert: identity.chain.map((der) => encodePem('CERTIFICATE', der)).join(''),
    key: identity.key.privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
  const options = { port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false, ...pem };
  return quiet(connectHttp2('https://localhost', { maxSessionMemory: 1_000, createConnection: () => connectTls(options) }));
}

/** One message as a gRPC frame. */
export function grpcFrame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Sends these bytes as the body of a call and waits for its status. */
export function rawCall(
  session: ClientHttp2Session,
  path: string,
  body: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<RawStatus> {
  const stream = session.request({
    ':method': 'POST',
    ':path': `/${path}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  return new Promise((resolve) => {
    let status: RawStatus = { code: -1, message: '' };
    const read = (fields: NodeJS.Dict<string | string[]>): void => {
      if (fields['grpc-status'] === undefined) return;
      status = { code: Number(fields['grpc-status']), message: decodeURIComponent(String(fields['grpc-message'] ?? '')) };
    };
    stream.on('response', read).on('trailers', read);
    stream.on('error', () => {}).on('close', () => resolve(status));
    // A stream that sends something, or waits, has taken the request, and would go on.
    const taken = (): void => {
      status = { code: 0, message: '' };
      stream.close(CANCEL);
    };
    const silence = setTimeout(taken, SILENCE_MS);
    stream.once('data', taken).once('close', () => clearTimeout(silence));
    stream.end(body);
  });
}

function quiet(session: ClientHttp2Session): ClientHttp2Session {
  // What happens to the connection is seen by its calls.
  return session.on('error', () => {});
}
