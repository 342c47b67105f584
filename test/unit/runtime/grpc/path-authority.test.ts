import { mkdtemp, rm } from 'node:fs/promises';
import http2 from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Health } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { PathAuthorityFilter, onOpening } from '../../../../runtime/grpc/path-authority.ts';
import { GrpcServer } from '../../../../runtime/grpc/server.ts';
import { listenUnix } from '../../../../runtime/grpc/unix-listener.ts';
import { frame, request } from './raw-client.ts';
import { ACK, DATA, END_HEADERS, END_STREAM, HEADERS, RawFrames, SETTINGS, rawFrame, requestHeaders } from './raw-frames.ts';

const CHECK = '/grpc.health.v1.Health/Check';
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** What Netty sends first: no push, no streams of the server's, and more. */
const NETTY = rawFrame(SETTINGS, 0, 0, Buffer.from('000200000000000300000000000400100000', 'hex'));
const ACKNOWLEDGED = rawFrame(SETTINGS, ACK, 0);
const PATH = '/run/countersign/api.sock';

/** A header block that starts as grpc-java's does: `:authority`, to be kept in the table, in plain bytes. */
function blockNaming(authority: string): Buffer {
  const value = Buffer.from(authority);
  const fields = Buffer.from([
    0x83,
    0x86,
    0x44,
    CHECK.length,
    ...Buffer.from(CHECK),
    0x5f,
    16,
    ...Buffer.from('application/grpc'),
  ]);
  return Buffer.concat([Buffer.from([0x41, value.length]), value, fields, Buffer.from([0x40, 2]), Buffer.from('te\btrailers')]);
}

/** The same request by the table's indexes: te 62, content-type 63, path 64, authority 65. */
const AGAIN = Buffer.from([0xc1, 0x83, 0x86, 0xc0, 0xbf, 0xbe]);

function filtered(...chunks: readonly Uint8Array[]): Buffer {
  const filter = new PathAuthorityFilter();
  for (const chunk of chunks) filter.write(Buffer.from(chunk));
  filter.end();
  const out: Buffer[] = [];
  // A Buffer, as no encoding is set.
  for (let chunk = filter.read() as Buffer | null; chunk !== null; chunk = filter.read() as Buffer | null) out.push(chunk);
  return Buffer.concat(out);
}

describe('PathAuthorityFilter', () => {
  const head = Buffer.concat([PREFACE, NETTY, ACKNOWLEDGED]);
  const call = (block: Buffer, flags = END_HEADERS): Buffer => rawFrame(HEADERS, flags, 3, block);
  const data = rawFrame(DATA, END_STREAM, 3, Buffer.from('/a/b'));

  it.each([
    ['with its name from the table', blockNaming],
    ['with its name spelled out', (authority: string) => requestHeaders(CHECK, { ':authority': authority })],
  ])('replaces slashes in the authority, %s, and nothing else', (_, block) => {
    const expected = Buffer.concat([head, call(block('-run-countersign-api.sock')), data]);
    const sent = Buffer.concat([head, call(block(PATH)), data]);
    expect(filtered(sent)).toEqual(expected);
    expect(filtered(...Array.from(sent, (byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  it('finds the block behind padding and priority', () => {
    const around = (block: Buffer): Buffer => call(Buffer.concat([Buffer.of(2, 0, 0, 0, 0, 1), block, Buffer.alloc(2)]), 0x2c);
    expect(filtered(head, around(blockNaming(PATH)))).toEqual(
      Buffer.concat([head, around(blockNaming('-run-countersign-api.sock'))]),
    );
  });

  it('passes on what it cannot read', () => {
    const broken = [Buffer.from([0x41]), Buffer.from([0x41, 0x7f, 0xff, 0xff, 0xff]), Buffer.from([0x41, 0x85, 0x2f, 0x2f])];
    for (const block of broken) expect(filtered(head, call(block))).toEqual(Buffer.concat([head, call(block)]));
    expect(filtered(head, call(Buffer.alloc(5_000)), data.subarray(0, 5)).length).toBe(head.length + 5_014);
  });
});

describe('on a unix socket', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'authority-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('a client that names the path as its authority is answered', async () => {
    const path = join(folder, 'api.sock');
    const server = new GrpcServer<string>().addService(Health, { check: () => ({}) });
    await using listener = await listenUnix(server, path, { mode: 0o600, onAccept: () => 'me' });
    using client = new RawFrames(listener.path);
    client.socket.write(Buffer.concat([PREFACE, NETTY]));
    await client.frame(({ type }) => type === SETTINGS);
    client.send(SETTINGS, ACK, 0).send(HEADERS, END_HEADERS, 3, blockNaming(path));
    client.send(DATA, END_STREAM, 3, frame(new Uint8Array()));
    await client.frame(({ type, streamId }) => type === DATA && streamId === 3);
    // The value is in the table now, as both sides wrote it.
    client.send(HEADERS, END_HEADERS, 5, AGAIN).send(DATA, END_STREAM, 5, frame(new Uint8Array()));
    await client.frame(({ type, streamId }) => type === DATA && streamId === 5);
    await server.close({ graceMs: 0 });
  });

  it.each([
    [{}, true],
    [{ maxConcurrentStreams: 0 }, false],
  ])('settings %j leave the socket to be read without JavaScript: %s', async (settings, expected) => {
    const server = new GrpcServer<string>().addService(Health, { check: () => ({}) });
    const direct: boolean[] = [];
    const listener = net.createServer((socket) =>
      onOpening(socket, 1_000, (stream) => {
        direct.push(stream === socket);
        server.handleConnection(stream, 'me');
      }),
    );
    const path = join(folder, 'api.sock');
    await new Promise<void>((resolve) => listener.listen(path, resolve));
    const session = http2.connect('http://localhost', { createConnection: () => net.connect(path), settings });
    expect((await request(session, CHECK)).trailers['grpc-status']).toBe('0');
    expect(direct).toEqual([expected]);
    session.destroy();
    listener.close();
    await server.close({ graceMs: 0 });
  });

  it('a client that says nothing is cut off', async () => {
    const listener = net.createServer((socket) => onOpening(socket, 10, () => socket.end('served')));
    const path = join(folder, 'api.sock');
    await new Promise<void>((resolve) => listener.listen(path, resolve));
    const socket = net.connect(path);
    const received: Buffer[] = [];
    socket.on('data', (chunk) => received.push(chunk));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(received).toEqual([]);
    listener.close();
  });
});
