import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Call } from '../../../../runtime/grpc/call.ts';
import { encodeMessage } from '../../../../runtime/grpc/encoded-message.ts';
import { Health, HealthCheckRequestSchema } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import {
  SimpleRequestSchema,
  StreamingInputCallRequestSchema,
  StreamingOutputCallResponseSchema,
} from '../../../conformance/grpc/gen/grpc/testing/messages_pb.ts';
import { TestService } from '../../../conformance/grpc/gen/grpc/testing/test_pb.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { frame, framed, open, replyOf, request, settled, startPair } from './raw-client.ts';
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  PING,
  RawFrames,
  rawFrame,
  requestHeaders,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './raw-frames.ts';

const CHECK = '/grpc.health.v1.Health/Check';
const UNARY = '/grpc.testing.TestService/UnaryCall';
const INPUT = '/grpc.testing.TestService/StreamingInputCall';
const OUTPUT = '/grpc.testing.TestService/StreamingOutputCall';
const NO_ERROR = 0;
const ENHANCE_YOUR_CALM = 11;

describe('a request that is no gRPC', () => {
  it.for(['application/json', 'application/grpc-web', 'application/grpc+json', 'text/plain', 'application/grpcx', ''])(
    'with content type "%s" gets HTTP 415',
    async (type) => {
      await using pair = await startPair('me');
      pair.server.addService(Health, { check: () => ({}) });
      const reply = await request(pair.session, CHECK, { headers: { 'content-type': type } });
      expect(reply.headers[':status']).toBe(415);
      expect(reply.headers['grpc-status']).toBeUndefined();
    },
  );

  it.for(['application/grpc+proto', 'application/grpc;charset=utf-8', 'application/grpc+proto ; x=y'])(
    'is not one with content type "%s"',
    async (type) => {
      await using pair = await startPair('me');
      pair.server.addService(Health, { check: () => ({}) });
      expect((await request(pair.session, CHECK, { headers: { 'content-type': type } })).trailers['grpc-status']).toBe('0');
    },
  );

  it.for(['GET', 'PUT', 'OPTIONS', 'HEAD'])('with method %s gets HTTP 405', async (method) => {
    await using pair = await startPair('me');
    const stream = pair.session.request({ ':method': method, ':path': CHECK, 'content-type': 'application/grpc' });
    stream.end();
    expect((await replyOf(stream)).headers[':status']).toBe(405);
  });

  it.for(['/', '//', '/x', '/x/', '/x/y/z', '/grpc.health.v1.Health/check', '/grpc.health.v1.Health/Check?', '/%00/%00'])(
    'with path "%s" gets UNIMPLEMENTED',
    async (path) => {
      await using pair = await startPair('me');
      pair.server.addService(Health, { check: () => ({}) });
      expect((await request(pair.session, path)).trailers['grpc-status']).toBe('12');
    },
  );
});

describe('a malformed message', () => {
  const check = { check: () => ({}) };

  it('with an unknown flag, cut short, or not of the type ends with INTERNAL', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, check);
    const bodies = [
      frame(new Uint8Array(), 2),
      Buffer.from([0, 0, 0]),
      Buffer.from([0, 0, 0, 0, 9, 1]),
      frame(Buffer.from([0x0a, 0xff])),
    ];
    for (const body of bodies) expect((await request(pair.session, CHECK, { body })).trailers['grpc-status']).toBe('13');
  });

  it('count other than one ends with UNIMPLEMENTED', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, check);
    expect((await request(pair.session, CHECK, { body: Buffer.alloc(0) })).trailers['grpc-status']).toBe('12');
    expect((await request(pair.session, CHECK, { body: Buffer.alloc(10) })).trailers['grpc-status']).toBe('12');
  });

  it('in a stream reaches the caller, not the handler', async () => {
    await using pair = await startPair('me');
    const seen: unknown[] = [];
    pair.server.addService(TestService, {
      async streamingInputCall(requests) {
        try {
          for await (const each of requests) seen.push(each);
        } catch (error) {
          seen.push('failed');
          throw error;
        }
        return {};
      },
    });
    const good = framed(StreamingInputCallRequestSchema, {});
    const reply = await request(pair.session, INPUT, { body: Buffer.concat([good, frame(Buffer.from([0x0a, 0xff]))]) });
    expect(reply.trailers['grpc-status']).toBe('13');
    expect(seen).toHaveLength(2);
    const cut = await request(pair.session, INPUT, { body: Buffer.from([0, 0, 0]) });
    expect(cut.trailers['grpc-status']).toBe('13');
  });
});

describe('a large message', () => {
  it('of 10 MB is refused by its size alone, and the caller told to stop', async () => {
    await using pair = await startPair('me');
    let handled = false;
    pair.server.addService(Health, {
      check: () => {
        handled = true;
        return {};
      },
    });
    const stream = open(pair.session, CHECK);
    stream.end(frame(new Uint8Array(10_000_000)));
    const reply = await replyOf(stream);
    expect(reply.trailers['grpc-status']).toBe('8');
    expect(reply.trailers['grpc-message']).toBe('message has 10000000 bytes; this server takes up to 4194304');
    expect(reply.rstCode).toBe(NO_ERROR);
    expect(handled).toBe(false);
  });

  it('is taken up to the limit that is set', async () => {
    await using pair = await startPair('me', { maxReceiveBytes: 1_000 });
    pair.server.addService(Health, { check: () => ({}) });
    const service = (length: number): Buffer => framed(HealthCheckRequestSchema, { service: 'x'.repeat(length) });
    expect((await request(pair.session, CHECK, { body: service(997) })).trailers['grpc-status']).toBe('0');
    expect((await request(pair.session, CHECK, { body: service(998) })).trailers['grpc-status']).toBe('8');
  });

  it('may be as large as the limit, in both directions', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, { unaryCall: ({ payload }) => (payload === undefined ? {} : { payload }) });
    const body = framed(SimpleRequestSchema, { payload: { body: new Uint8Array(4_194_304 - 12).fill(3) } });
    const reply = await request(pair.session, UNARY, { body });
    expect(reply.trailers['grpc-status']).toBe('0');
    expect(reply.data.length).toBeGreaterThan(4_194_290);
  });

  it('is not held many times over for one connection', async () => {
    await using pair = await startPair('me', { maxHeldBytes: 2_000_000 });
    pair.server.addService(TestService, { unaryCall: () => ({}) });
    const unfinished = frame(new Uint8Array(1_000_000)).subarray(0, 900_000);
    const streams = [1, 2, 3, 4].map(() => open(pair.session, UNARY));
    const replies = streams.map((stream) => replyOf(stream));
    for (const stream of streams) stream.write(unfinished);
    const refused = await Promise.race(replies);
    expect(refused.trailers['grpc-status']).toBe('8');
    for (const stream of streams) stream.close(8);
    const finished = await request(pair.session, UNARY, { body: frame(Buffer.from([0x10, 1])) });
    expect(finished.trailers['grpc-status']).toBe('0');
  });
});

describe('a compressed message', () => {
  const gzip = { 'grpc-encoding': 'gzip' };
  const message = framed(HealthCheckRequestSchema, { service: 'hello' }).subarray(5);

  it('in gzip is read, also where the flag says that it is not compressed', async () => {
    await using pair = await startPair('me');
    const names: string[] = [];
    pair.server.addService(Health, {
      check: ({ service }) => {
        names.push(service);
        return {};
      },
    });
    await request(pair.session, CHECK, { headers: gzip, body: frame(gzipSync(message), 1) });
    await request(pair.session, CHECK, { headers: gzip, body: frame(message) });
    expect(names).toEqual(['hello', 'hello']);
  });

  it('in gzip is read in streams, in order', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, {
      async streamingInputCall(requests) {
        const sizes = await Array.fromAsync(requests, ({ payload }) => payload?.body.length ?? 0);
        expect(sizes).toEqual([1, 50_000, 2]);
        return {};
      },
    });
    const one = (size: number): Buffer => framed(StreamingInputCallRequestSchema, { payload: { body: new Uint8Array(size) } });
    const body = Buffer.concat([one(1), frame(gzipSync(one(50_000).subarray(5)), 1), one(2)]);
    expect((await request(pair.session, INPUT, { headers: gzip, body })).trailers['grpc-status']).toBe('0');
  });

  it('in another encoding is refused, and told which are accepted', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => ({}) });
    for (const encoding of ['br', 'deflate', 'snappy', 'gzip, gzip', '']) {
      const reply = await request(pair.session, CHECK, { headers: { 'grpc-encoding': encoding }, body: frame(message, 1) });
      expect(reply.trailers['grpc-status']).toBe('12');
      expect(reply.headers['grpc-accept-encoding']).toBe('identity,gzip');
    }
  });

  it('without an encoding, or that is no gzip, ends with INTERNAL', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => ({}) });
    expect((await request(pair.session, CHECK, { body: frame(gzipSync(message), 1) })).trailers['grpc-status']).toBe('13');
    const garbage = await request(pair.session, CHECK, { headers: gzip, body: frame(Buffer.from('garbage'), 1) });
    expect(garbage.trailers['grpc-status']).toBe('13');
  });

  it('that is a bomb is refused before it has grown', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => ({}) });
    const bomb = gzipSync(Buffer.alloc(200_000_000));
    const before = process.memoryUsage().rss;
    for (let turn = 0; turn < 5; turn += 1) {
      const reply = await request(pair.session, CHECK, { headers: gzip, body: frame(bomb, 1) });
      expect(reply.trailers['grpc-status']).toBe('8');
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
  });
});

describe('a hostile connection', () => {
  it('that resets its calls at once, over and over, is closed', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => new Promise(() => {}) });
    using raw = new RawFrames(pair.port).greet();
    const cancel = Buffer.from([0, 0, 0, 8]);
    const head = requestHeaders(CHECK);
    for (let id = 1; id < 2 * 5_000; id += 2) {
      raw.socket.write(Buffer.concat([rawFrame(HEADERS, END_HEADERS, id, head), rawFrame(RST_STREAM, 0, id, cancel)]));
    }
    await raw.closed;
    const goaway = raw.received.find(({ type }) => type === GOAWAY);
    expect(goaway?.payload.readUInt32BE(4)).toBe(ENHANCE_YOUR_CALM);
  });

  it('that resets streams nobody reads leaves nothing behind', async () => {
    await using pair = await startPair('me');
    const ended = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const calls: Call<string>[] = [];
    pair.server.addService(TestService, {
      streamingInputCall: (_requests, call) => {
        const turn = calls.push(call) - 1;
        call.onEnd(() => ended[turn]?.resolve());
        return new Promise(() => {});
      },
    });
    using raw = new RawFrames(pair.port).greet();
    const message = framed(StreamingInputCallRequestSchema, { payload: { body: new Uint8Array(10_000) } });
    for (const [turn, code] of [0, 8].entries()) {
      const id = turn * 2 + 1;
      raw.request(id, INPUT).send(DATA, 0, id, message).send(DATA, 0, id, message).send(DATA, 0, id, message);
      raw.send(PING, 0, 0, Buffer.alloc(8, id));
      await raw.frame(({ type, payload }) => type === PING && payload[0] === id);
      raw.send(RST_STREAM, 0, id, Buffer.from([0, 0, 0, code]));
      await ended[turn]?.promise;
    }
    // With no stream left, a drain closes the connection at once.
    pair.session.destroy();
    await pair.server.close({ graceMs: 1_000_000 });
  });

  it('that never reads, whatever windows it announces, is not produced for', async () => {
    await using pair = await startPair('me');
    let produced = 0;
    pair.server.addService(TestService, {
      async *streamingOutputCall() {
        for (; ; produced += 1) yield { payload: { body: new Uint8Array(50_000) } };
      },
    });
    using raw = new RawFrames(pair.port);
    raw.socket.pause();
    const endless = Buffer.from([0x7f, 0xff, 0xff, 0xff]);
    raw.socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    raw
      .send(SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 4]), endless]))
      .send(WINDOW_UPDATE, 0, 0, Buffer.from([0x7f, 0, 0, 0]));
    for (let id = 1; id < 100; id += 2) raw.request(id, OUTPUT).send(DATA, END_STREAM, id, Buffer.alloc(5));
    await settled(() => produced);
    // What the kernel's socket buffers take, and a little for each of the 50 streams.
    expect(produced * 50_000).toBeLessThan(30_000_000);
  });

  it('is not one that cancels each call after its answer', async () => {
    await using pair = await startPair('me');
    const answer = encodeMessage(StreamingOutputCallResponseSchema, {});
    pair.server.addService(TestService, { streamingOutputCall: () => ({ value: answer, subscribe: () => () => {} }) });
    for (let turn = 0; turn < 3_000; turn += 1) {
      const stream = open(pair.session, OUTPUT);
      stream.end(Buffer.alloc(5));
      await new Promise((resolve) => stream.once('data', resolve));
      stream.close(8);
    }
    expect(pair.session.destroyed).toBe(false);
  });

  it('that floods with settings is closed', async () => {
    await using pair = await startPair('me');
    using raw = new RawFrames(pair.port).greet();
    for (let turn = 0; turn < 2_000; turn += 1) raw.send(SETTINGS, 0, 0);
    await raw.closed;
  });

  it('that floods with pings while it calls nothing is closed; with calls it is not', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => ({}) });
    using quiet = new RawFrames(pair.port).greet();
    for (let turn = 0; turn < 2_000; turn += 1) quiet.send(PING, 0, 0, Buffer.alloc(8));
    await quiet.closed;
    using busy = new RawFrames(pair.port).greet();
    for (let turn = 1; turn <= 20; turn += 1) {
      for (let ping = 0; ping < 100; ping += 1) busy.send(PING, 0, 0, Buffer.alloc(8, turn));
      await busy.frame(({ type, payload }) => type === PING && payload[0] === turn);
      const id = turn * 2 - 1;
      busy.request(id, CHECK).send(DATA, END_STREAM, id, Buffer.alloc(5));
      await busy.frame(({ type, streamId }) => type === DATA && streamId === id);
    }
  });

  it('that sends nothing, or half a greeting, is closed after a while', async () => {
    const clock = new ManualClock();
    await using pair = await startPair('me', { clock });
    using silent = new RawFrames(pair.port);
    using half = new RawFrames(pair.port);
    half.socket.write('PRI * HTTP');
    await Promise.all([silent, half].map((raw) => raw.frame(({ type }) => type === SETTINGS)));
    clock.advance(9_999);
    expect([silent.socket.destroyed, half.socket.destroyed]).toEqual([false, false]);
    clock.advance(1);
    await Promise.all([silent.closed, half.closed]);
  });

  it('that speaks something else is closed', async () => {
    await using pair = await startPair('me');
    for (const greeting of ['GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\x02\x00', Buffer.alloc(10_000)]) {
      using raw = new RawFrames(pair.port);
      raw.socket.write(greeting);
      raw.socket.resume();
      await raw.closed;
    }
  });

  it('gets no further with large header lists, too many fields or endless continuations', async () => {
    await using pair = await startPair('me');
    let handled = 0;
    pair.server.addService(Health, {
      check: () => {
        handled += 1;
        return {};
      },
    });
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`x-${index}`, 'y']));
    for (const fields of [{ 'x-large': 'x'.repeat(16_300) }, many]) {
      using raw = new RawFrames(pair.port).greet();
      raw.request(1, CHECK, fields).send(DATA, END_STREAM, 1, Buffer.alloc(5));
      const refused = raw.frame(({ type }) => type === RST_STREAM || type === GOAWAY);
      await Promise.race([refused, raw.closed]);
    }
    using endless = new RawFrames(pair.port).greet();
    endless.send(HEADERS, 0, 1, requestHeaders(CHECK));
    for (let turn = 0; turn < 1_000; turn += 1)
      endless.send(9, 0, 1, Buffer.concat([Buffer.from([0, 1, 0x78, 127, 0xf1, 0x6]), Buffer.alloc(1_000, 0x79)]));
    await endless.closed;
    expect(handled).toBe(0);
  });

  it('may leave in the middle of anything', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, {
      async *streamingOutputCall() {
        for (;;) yield { payload: { body: new Uint8Array(10_000) } };
      },
    });
    for (let turn = 0; turn < 50; turn += 1) {
      const session = pair.connect();
      for (let call = 0; call < 3; call += 1) open(session, OUTPUT).end(Buffer.alloc(5));
      await new Promise((resolve) => session.once('remoteSettings', resolve));
      if (turn % 2 === 0) session.destroy();
      else session.socket.destroy();
    }
    expect((await request(pair.session, '/x/y')).trailers['grpc-status']).toBe('12');
  });
});
