import { existsSync, lstatSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import http2 from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Health } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { GrpcServer } from '../../../../runtime/grpc/server.ts';
import { listenUnix } from '../../../../runtime/grpc/unix-listener.ts';
import { request, type Reply } from './raw-client.ts';

const CHECK = '/grpc.health.v1.Health/Check';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-unix-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function newServer(seen: unknown[] = []): GrpcServer<string> {
  return new GrpcServer<string>().addService(Health, {
    check: (_request, { peer }) => {
      seen.push(peer);
      return {};
    },
  });
}

async function check(path: string): Promise<Reply> {
  const session = http2.connect('http://localhost', { createConnection: () => net.connect(path) });
  session.on('error', () => {});
  try {
    return await request(session, CHECK);
  } finally {
    session.destroy();
  }
}

describe('listenUnix', () => {
  it('serves with the mode that was asked for, in folders that it makes', async () => {
    const path = join(folder, 'a', 'b', 'api.sock');
    const seen: unknown[] = [];
    const server = newServer(seen);
    await using listener = await listenUnix(server, path, { mode: 0o640, onAccept: () => 'me' });
    expect(lstatSync(path).mode & 0o777).toBe(0o640);
    expect((await check(listener.path)).trailers['grpc-status']).toBe('0');
    expect(seen).toEqual(['me']);
    expect(await readdir(join(folder, 'a', 'b'))).toEqual(['api.sock']);
    await server.close({ graceMs: 0 });
  });

  it('waits for a peer that is found out later', async () => {
    const path = join(folder, 'api.sock');
    const seen: unknown[] = [];
    const server = newServer(seen);
    const onAccept = () => new Promise<string>((resolve) => setTimeout(() => resolve('later'), 20));
    await using listener = await listenUnix(server, path, { mode: 0o600, onAccept });
    expect((await check(listener.path)).trailers['grpc-status']).toBe('0');
    expect(seen).toEqual(['later']);
    await server.close({ graceMs: 0 });
  });

  it('closes a connection whose peer is refused, and tells why', async () => {
    for (const refuse of [
      () => Promise.reject(new Error('no')),
      () => {
        throw new Error('no');
      },
    ]) {
      const path = join(folder, 'api.sock');
      const refused: unknown[] = [];
      const server = newServer();
      await using listener = await listenUnix(server, path, {
        mode: 0o600,
        onAccept: refuse,
        onRefused: (error) => refused.push(error),
      });
      const socket = net.connect(listener.path);
      await new Promise((resolve) => socket.once('close', resolve));
      expect(refused).toEqual([new Error('no')]);
      await server.close({ graceMs: 0 });
    }
  });

  it('takes the place of a stale socket', async () => {
    const path = join(folder, 'api.sock');
    const dead = net.createServer();
    await new Promise<void>((resolve) => {
      dead.listen(join(folder, 'x'), resolve);
    });
    // Node removes the file when it closes the socket, so the stale one is a hard link to it.
    const { linkSync } = await import('node:fs');
    linkSync(join(folder, 'x'), path);
    await new Promise((resolve) => dead.close(resolve));
    expect(existsSync(path)).toBe(true);
    const server = newServer();
    await using listener = await listenUnix(server, path, { mode: 0o600, onAccept: () => 'me' });
    expect((await check(listener.path)).trailers['grpc-status']).toBe('0');
    await server.close({ graceMs: 0 });
  });

  it('leaves alone a socket that is served, and a file that is none', async () => {
    const path = join(folder, 'api.sock');
    const server = newServer();
    await using listener = await listenUnix(server, path, { mode: 0o600, onAccept: () => 'me' });
    const again = listenUnix(newServer(), path, { mode: 0o600, onAccept: () => 'other' });
    await expect(again).rejects.toMatchObject({ code: 'failed_precondition' });
    expect((await check(listener.path)).trailers['grpc-status']).toBe('0');
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    await expect(listenUnix(newServer(), file, { mode: 0o600, onAccept: () => 'x' })).rejects.toMatchObject({
      code: 'failed_precondition',
    });
    expect(lstatSync(file).isFile()).toBe(true);
    expect((await readdir(folder)).sort()).toEqual(['api.sock', 'file']);
    await server.close({ graceMs: 0 });
  });

  it("removes its own socket when it closes, and nobody else's", async () => {
    const path = join(folder, 'api.sock');
    const first = await listenUnix(newServer(), path, { mode: 0o600, onAccept: () => 'me' });
    await first.close();
    expect(existsSync(path)).toBe(false);
    const second = await listenUnix(newServer(), path, { mode: 0o600, onAccept: () => 'me' });
    await first.close();
    expect(existsSync(path)).toBe(true);
    await second.close();
  });

  it('works where the path is as long as the kernel allows', async () => {
    const path = join(folder, 'x'.repeat(107 - folder.length - 1));
    expect(path).toHaveLength(107);
    const server = newServer();
    await using listener = await listenUnix(server, path, { mode: 0o600, onAccept: () => 'me' });
    expect((await check(listener.path)).trailers['grpc-status']).toBe('0');
    await server.close({ graceMs: 0 });
  });

  it('says so where the path is longer', async () => {
    const path = join(folder, 'x'.repeat(108 - folder.length - 1));
    await expect(listenUnix(newServer(), path, { mode: 0o600, onAccept: () => 'me' })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    expect(await readdir(folder)).toEqual([]);
  });
});
