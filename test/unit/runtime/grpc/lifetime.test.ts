import { PassThrough, Duplex } from 'node:stream';
import http2 from 'node:http2';
import { describe, expect, it } from 'vitest';
import { Current } from '../../../../core/current.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { GrpcServer } from '../../../../runtime/grpc/server.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { open, replyOf, request, startPair } from './raw-client.ts';
import { ACK, DATA, END_STREAM, GOAWAY, PING, RawFrames, SETTINGS } from './raw-frames.ts';

const CHECK = '/grpc.health.v1.Health/Check';
const LIST = '/grpc.health.v1.Health/List';
const WATCH = '/grpc.health.v1.Health/Watch';
const REFLECT = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const SERVING = new Current({ status: HealthCheckResponse_ServingStatus.SERVING });

describe('a connection', () => {
  it('that is quiet is pinged, and lost when there is no answer', async () => {
    const clock = new ManualClock();
    await using pair = await startPair('me', { clock, keepAliveMs: 1_000, keepAliveTimeoutMs: 500 });
    using raw = new RawFrames(pair.port).greet();
    await raw.frame(({ type, flags }) => type === SETTINGS && flags === ACK);
    clock.advance(1_000);
    const ping = await raw.frame(({ type }) => type === PING);
    raw.send(PING, ACK, 0, ping.payload).send(PING, 0, 0, Buffer.alloc(8, 1));
    await raw.frame(({ type, flags }) => type === PING && flags === ACK);
    clock.advance(999);
    expect(raw.received.filter(({ type, flags }) => type === PING && flags === 0)).toHaveLength(1);
    clock.advance(1);
    await raw.frame((frame) => frame.type === PING && frame.flags === 0 && !frame.payload.equals(ping.payload));
    clock.advance(500);
    await raw.closed;
  });

  it('without calls is closed after a while, and not while there is one', async () => {
    const clock = new ManualClock();
    await using pair = await startPair('me', { clock, maxIdleMs: 1_000, keepAliveMs: 0 });
    pair.server.addService(Health, { check: () => ({}), watch: () => SERVING });
    const stream = open(pair.session, WATCH);
    stream.end(Buffer.alloc(5));
    await new Promise((resolve) => stream.once('data', resolve));
    clock.advance(10_000);
    expect((await request(pair.session, CHECK)).trailers['grpc-status']).toBe('0');
    const closed = new Promise((resolve) => stream.once('close', resolve));
    stream.close(8);
    await closed;
    await request(pair.session, CHECK);
    const gone = new Promise((resolve) => pair.session.once('close', resolve));
    while (clock.nextTimerMs !== 1_000) await new Promise(setImmediate);
    clock.advance(999);
    expect(pair.session.closed).toBe(false);
    clock.advance(1);
    await gone;
  });

  it('of a certain age is told to go; its calls have time to finish', async () => {
    const clock = new ManualClock();
    await using pair = await startPair('me', { clock, maxAgeMs: 10_000, maxAgeGraceMs: 2_000, keepAliveMs: 0 });
    const go = Promise.withResolvers<object>();
    pair.server.addService(Health, { check: () => go.promise, watch: () => SERVING });
    const call = open(pair.session, CHECK);
    call.end(Buffer.alloc(5));
    const stream = open(pair.session, WATCH);
    stream.end(Buffer.alloc(5));
    const replies = [replyOf(call), replyOf(stream)] as const;
    await new Promise((resolve) => stream.once('data', resolve));
    const goaway = new Promise((resolve) => pair.session.once('goaway', resolve));
    clock.advance(10_000);
    expect(await goaway).toBe(0);
    go.resolve({});
    expect((await replies[0]).trailers['grpc-status']).toBe('0');
    clock.advance(2_000);
    expect((await replies[1]).trailers['grpc-status']).toBe('14');
    await new Promise((resolve) => (pair.session.destroyed ? resolve(0) : pair.session.once('close', resolve)));
  });

  it('that goes names the last call that it took', async () => {
    await using pair = await startPair('me');
    const go = Promise.withResolvers<object>();
    pair.server.addService(Health, { check: () => go.promise, list: () => ({}) });
    using raw = new RawFrames(pair.port).greet();
    raw.request(1, CHECK).send(DATA, END_STREAM, 1, Buffer.alloc(5));
    raw.request(3, LIST).send(DATA, END_STREAM, 3, Buffer.alloc(5));
    await raw.frame(({ type, streamId }) => type === DATA && streamId === 3);
    const stopped = pair.server.close({ graceMs: 10_000 });
    const goaway = await raw.frame(({ type }) => type === GOAWAY);
    expect([goaway.payload.readUInt32BE(0), goaway.payload.readUInt32BE(4)]).toEqual([3, 0]);
    raw.request(5, LIST).send(DATA, END_STREAM, 5, Buffer.alloc(5));
    go.resolve({});
    await raw.frame(({ type, streamId }) => type === DATA && streamId === 1);
    await raw.closed;
    expect(raw.received.some(({ streamId }) => streamId === 5)).toBe(false);
    pair.session.destroy();
    await stopped;
  });

  it('may be any duplex stream', async () => {
    const server = new GrpcServer<string>();
    server.addService(Health, { check: (_request, { peer }) => ({ status: peer === 'pipe' ? 1 : 2 }) });
    const [left, right] = [new PassThrough(), new PassThrough()];
    server.handleConnection(Duplex.from({ readable: left, writable: right }), 'pipe');
    const session = http2.connect('http://pipe', { createConnection: () => Duplex.from({ readable: right, writable: left }) });
    const reply = await request(session, CHECK);
    expect([...reply.data]).toEqual([0, 0, 0, 0, 2, 8, 1]);
    session.destroy();
    await server.close({ graceMs: 0 });
  });
});

describe('a server that stops', () => {
  it('lets calls finish, takes no more, and then is done', async () => {
    await using pair = await startPair('me');
    const go = Promise.withResolvers<object>();
    const called = Promise.withResolvers<void>();
    pair.server.addService(Health, {
      check: () => {
        called.resolve();
        return go.promise;
      },
    });
    const call = open(pair.session, CHECK);
    call.end(Buffer.alloc(5));
    const reply = replyOf(call);
    await called.promise;
    let stopped = false;
    const stop = pair.server.close({ graceMs: 60_000 }).then(() => (stopped = true));
    await new Promise((resolve) => pair.session.once('goaway', resolve));
    expect(stopped).toBe(false);
    go.resolve({});
    expect((await reply).trailers['grpc-status']).toBe('0');
    await stop;
    const refused = pair.connect();
    await new Promise((resolve) => refused.once('close', resolve));
  });

  it('ends what is not finished in time with UNAVAILABLE', async () => {
    const clock = new ManualClock();
    await using pair = await startPair('me', { clock });
    const called = Promise.withResolvers<void>();
    pair.server.addService(Health, {
      check: () => {
        called.resolve();
        return new Promise(() => {});
      },
    });
    const stream = open(pair.session, CHECK);
    stream.end(Buffer.alloc(5));
    const reply = replyOf(stream);
    await called.promise;
    const stop = pair.server.close({ graceMs: 3_000 });
    clock.advance(3_000);
    expect((await reply).trailers['grpc-status']).toBe('14');
    await stop;
  });

  it('ends streams that would never finish at once, and no other call', async () => {
    await using pair = await startPair('me', { clock: new ManualClock() });
    const go = Promise.withResolvers<object>();
    const called = Promise.withResolvers<void>();
    pair.server.addService(Health, {
      watch: () => SERVING,
      check: () => {
        called.resolve();
        return go.promise;
      },
    });
    pair.server.addService(
      ServerReflection,
      {
        async *serverReflectionInfo() {
          yield {};
          await new Promise(() => {});
        },
      },
      { standing: ['serverReflectionInfo'] },
    );
    const check = open(pair.session, CHECK);
    check.end(Buffer.alloc(5));
    const streams = [open(pair.session, WATCH), open(pair.session, REFLECT)];
    streams[0]?.end(Buffer.alloc(5));
    const replies = streams.map((stream) => replyOf(stream));
    const begun = streams.map((stream) => new Promise((resolve) => stream.once('data', resolve)));
    await Promise.all([called.promise, ...begun]);
    const checked = replyOf(check);
    const stop = pair.server.close({ graceMs: 60_000 });
    for (const reply of replies) expect((await reply).trailers['grpc-status']).toBe('14');
    go.resolve({});
    expect((await checked).trailers['grpc-status']).toBe('0');
    await stop;
  });

  it('does not wait for a caller that never answers', async () => {
    const clock = new ManualClock();
    await using pair = await startPair('me', { clock });
    pair.server.addService(Health, { watch: () => SERVING });
    using raw = new RawFrames(pair.port).greet();
    raw.request(1, WATCH).send(0, 1, 1, Buffer.alloc(5));
    await raw.frame(({ type }) => type === 0);
    pair.session.destroy();
    const stop = pair.server.close({ graceMs: 3_000 });
    clock.advance(3_000);
    clock.advance(1_000);
    await stop;
  });

  it('is done at once when nobody is connected', async () => {
    await new GrpcServer<string>().close({ graceMs: 60_000 });
  });
});

describe('many idle streams', () => {
  it('cost little memory and no answer', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => ({}), watch: () => SERVING });
    const before = process.memoryUsage().rss;
    const streams = Array.from({ length: 1_000 }, () => open(pair.session, WATCH));
    await Promise.all(
      streams.map((stream) => {
        stream.end(Buffer.alloc(5));
        return new Promise((resolve) => stream.once('data', resolve));
      }),
    );
    // Both ends of each stream live in this process.
    expect(process.memoryUsage().rss - before).toBeLessThan(80_000_000);
    expect((await request(pair.session, CHECK)).trailers['grpc-status']).toBe('0');
    for (const stream of streams) stream.close(8);
  });

  it('beyond the limit are refused', async () => {
    await using pair = await startPair('me', { maxConcurrentStreams: 10 });
    let watching = 0;
    pair.server.addService(Health, {
      watch: () => {
        watching += 1;
        return SERVING;
      },
    });
    using raw = new RawFrames(pair.port).greet();
    const settings = await raw.frame(({ type, flags }) => type === SETTINGS && flags === 0);
    expect(settings.payload.toString('hex')).toContain('00030000000a');
    raw.send(SETTINGS, ACK, 0);
    for (let id = 1; id <= 21; id += 2) raw.request(id, WATCH).send(DATA, END_STREAM, id, Buffer.alloc(5));
    // A peer that acknowledged the limit and breaks it loses its connection (RFC 9113 section 5.1.2).
    const goaway = await raw.frame(({ type }) => type === GOAWAY);
    expect([goaway.payload.readUInt32BE(0), goaway.payload.readUInt32BE(4)]).toEqual([19, 1]);
    expect(watching).toBe(10);
  });
});
