import { describe, expect, it } from 'vitest';
import { Current } from '../../../../core/current.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { encodeMessage } from '../../../../runtime/grpc/encoded-message.ts';
import {
  StreamingInputCallRequestSchema,
  StreamingInputCallResponseSchema,
  StreamingOutputCallRequestSchema,
  StreamingOutputCallResponseSchema,
} from '../../../conformance/grpc/gen/grpc/testing/messages_pb.ts';
import { TestService } from '../../../conformance/grpc/gen/grpc/testing/test_pb.ts';
import { framed, messagesOf, open, replyOf, request, settled, startPair } from './raw-client.ts';
import { DATA, RawFrames, RST_STREAM } from './raw-frames.ts';

const OUTPUT = '/grpc.testing.TestService/StreamingOutputCall';
const INPUT = '/grpc.testing.TestService/StreamingInputCall';
const DUPLEX = '/grpc.testing.TestService/FullDuplexCall';

function sized(size: number): { payload: { body: Uint8Array } } {
  return { payload: { body: new Uint8Array(size) } };
}

function sizes(data: Buffer): number[] {
  return messagesOf(StreamingOutputCallResponseSchema, data).map(({ payload }) => payload?.body.length ?? 0);
}

describe('a server stream', () => {
  it('sends what the handler yields, then OK', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, {
      async *streamingOutputCall() {
        yield sized(1);
        yield encodeMessage(StreamingOutputCallResponseSchema, sized(2));
      },
    });
    const reply = await request(pair.session, OUTPUT);
    expect(sizes(reply.data)).toEqual([1, 2]);
    expect(reply.trailers['grpc-status']).toBe('0');
  });

  it('ends with the error that the handler throws, after what it sent', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, {
      async *streamingOutputCall() {
        yield sized(1);
        throw new IdentityError('permission_denied', 'no more');
      },
    });
    const reply = await request(pair.session, OUTPUT);
    expect(sizes(reply.data)).toEqual([1]);
    expect(reply.trailers['grpc-status']).toBe('7');
  });

  it('stops the handler while the caller does not read', async () => {
    await using pair = await startPair('me');
    let produced = 0;
    pair.server.addService(TestService, {
      async *streamingOutputCall() {
        for (; produced < 1_000; produced += 1) yield sized(50_000);
      },
    });
    const stream = open(pair.session, OUTPUT);
    stream.end(Buffer.alloc(5));
    // The first bytes are here, and nothing is read: window, socket and stream buffers fill, then the handler waits.
    await new Promise((resolve) => stream.once('readable', resolve));
    await settled(() => produced);
    expect(produced).toBeLessThan(20);
    const reply = await replyOf(stream);
    expect(sizes(reply.data)).toHaveLength(1_000);
    expect(reply.trailers['grpc-status']).toBe('0');
  });

  it('returns the handler when the caller cancels', async () => {
    await using pair = await startPair('me');
    const returned = Promise.withResolvers<unknown>();
    pair.server.addService(TestService, {
      async *streamingOutputCall(_request, call) {
        try {
          yield sized(1);
          await new Promise((_resolve, reject) => {
            call.signal.addEventListener('abort', () => reject(call.signal.reason));
          });
        } catch (error) {
          returned.resolve(error);
        }
      },
    });
    const stream = open(pair.session, OUTPUT);
    stream.end(Buffer.alloc(5));
    await new Promise((resolve) => stream.once('data', resolve));
    stream.close(8);
    expect(await returned.promise).toMatchObject({ code: 'cancelled' });
  });
});

describe('a stream that follows a source', () => {
  it('sends the value now and each later one', async () => {
    await using pair = await startPair('me');
    const source = new Current(sized(1));
    pair.server.addService(TestService, { streamingOutputCall: () => source });
    const stream = open(pair.session, OUTPUT);
    stream.end(Buffer.alloc(5));
    const received: number[] = [];
    for await (const chunk of stream) {
      received.push(...sizes(chunk));
      if (received.length < 4) source.set(sized(received.length + 1));
      else break;
    }
    expect(received).toEqual([1, 2, 3, 4]);
  });

  it('leaves out what a slow caller had no time for', async () => {
    await using pair = await startPair('me');
    const source = new Current(sized(100_000));
    pair.server.addService(TestService, { streamingOutputCall: () => source });
    const stream = open(pair.session, OUTPUT);
    stream.end(Buffer.alloc(5));
    await new Promise((resolve) => stream.once('readable', resolve));
    for (let size = 100_001; size <= 100_500; size += 1) source.set(sized(size));
    const chunks: Buffer[] = [];
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (tryLast(Buffer.concat(chunks)) === 100_500) break;
    }
    expect(sizes(Buffer.concat(chunks)).length).toBeLessThan(10);
  });

  it('leaves the source when the call ends', async () => {
    await using pair = await startPair('me');
    const left = Promise.withResolvers<void>();
    const source = { value: sized(1), subscribe: () => () => left.resolve() };
    pair.server.addService(TestService, { streamingOutputCall: () => source });
    const stream = open(pair.session, OUTPUT);
    stream.end(Buffer.alloc(5));
    await new Promise((resolve) => stream.once('data', resolve));
    pair.session.destroy();
    await left.promise;
  });
});

// The size of the last message, or undefined while it is incomplete.
function tryLast(data: Buffer): number | undefined {
  try {
    return sizes(data).at(-1);
  } catch {
    return undefined;
  }
}

describe('a client stream', () => {
  it('gets all requests and answers once', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, {
      async streamingInputCall(requests) {
        let sum = 0;
        for await (const { payload } of requests) sum += payload?.body.length ?? 0;
        return { aggregatedPayloadSize: sum };
      },
    });
    const one = framed(StreamingInputCallRequestSchema, sized(10));
    const reply = await request(pair.session, INPUT, { body: Buffer.concat([one, one, one]) });
    expect(messagesOf(StreamingInputCallResponseSchema, reply.data)[0]?.aggregatedPayloadSize).toBe(30);
  });

  it('holds a sender back while the handler does not read', async () => {
    await using pair = await startPair('me');
    const go = Promise.withResolvers<void>();
    pair.server.addService(TestService, {
      async streamingInputCall(requests) {
        await go.promise;
        const count = (await Array.fromAsync(requests)).length;
        return { aggregatedPayloadSize: count };
      },
    });
    const stream = open(pair.session, INPUT);
    const reply = replyOf(stream);
    const one = framed(StreamingInputCallRequestSchema, sized(10_000));
    let taken = 0;
    const sent = (async () => {
      for (; taken < 500; taken += 1) await new Promise((resolve) => stream.write(one, resolve));
      stream.end();
    })();
    await settled(() => taken);
    expect(taken * 10_000).toBeLessThan(300_000);
    go.resolve();
    await sent;
    expect(messagesOf(StreamingInputCallResponseSchema, (await reply).data)[0]?.aggregatedPayloadSize).toBe(500);
  });

  it('may be answered before it ended; the caller is told to stop', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, { streamingInputCall: () => ({ aggregatedPayloadSize: 1 }) });
    const stream = open(pair.session, INPUT);
    const reply = await replyOf(stream);
    expect(reply.trailers['grpc-status']).toBe('0');
    expect(reply.rstCode).toBe(0);
  });
});

describe('a bidirectional or client stream', () => {
  it('that is reset does not look complete to its handler', async () => {
    await using pair = await startPair('me');
    const ended = Promise.withResolvers<unknown>();
    pair.server.addService(TestService, {
      async streamingInputCall(requests) {
        try {
          await Array.fromAsync(requests);
          ended.resolve('complete');
        } catch (error) {
          ended.resolve(error);
        }
        return {};
      },
    });
    using raw = new RawFrames(pair.port).greet();
    raw.request(1, INPUT).send(DATA, 0, 1, framed(StreamingInputCallRequestSchema, sized(10)));
    raw.send(RST_STREAM, 0, 1, Buffer.from([0, 0, 0, 8]));
    expect(await ended.promise).toMatchObject({ code: 'cancelled' });
  });

  it('answers each request while more may come', async () => {
    await using pair = await startPair('me');
    pair.server.addService(TestService, {
      async *fullDuplexCall(requests) {
        for await (const { responseParameters } of requests) yield sized(responseParameters[0]?.size ?? 0);
      },
    });
    const stream = open(pair.session, DUPLEX);
    const received: number[] = [];
    stream.write(framed(StreamingOutputCallRequestSchema, { responseParameters: [{ size: 1 }] }));
    for await (const chunk of stream) {
      received.push(...sizes(chunk));
      if (received.length === 5) stream.end();
      else stream.write(framed(StreamingOutputCallRequestSchema, { responseParameters: [{ size: received.length + 1 }] }));
    }
    expect(received).toEqual([1, 2, 3, 4, 5]);
  });

  it('tells the handler of a caller that goes away', async () => {
    await using pair = await startPair('me');
    const ended = Promise.withResolvers<unknown>();
    pair.server.addService(TestService, {
      async *fullDuplexCall(requests) {
        yield sized(1);
        try {
          await Array.fromAsync(requests);
        } catch (error) {
          ended.resolve(error);
        }
      },
    });
    const stream = open(pair.session, DUPLEX);
    await new Promise((resolve) => stream.once('data', resolve));
    pair.session.destroy();
    expect(await ended.promise).toMatchObject({ code: 'cancelled' });
  });
});
