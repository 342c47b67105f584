import { create, fromBinary } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IdentityError } from '../../../../core/errors.ts';
import { ErrorInfoSchema, RetryInfoSchema } from '../../../../proto/gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../../../../proto/gen/google/rpc/status_pb.ts';
import { Health } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import type { Call } from '../../../../runtime/grpc/call.ts';
import { percentEncode } from '../../../../runtime/grpc/status.ts';
import { DetailedError } from '../../../../runtime/wire-errors.ts';
import { open, replyOf, request, startPair } from './raw-client.ts';

const CHECK = '/grpc.health.v1.Health/Check';

describe('metadata', () => {
  it('of the request is read by name, with all its values, and as bytes', async () => {
    await using pair = await startPair('me');
    const calls: Call<string>[] = [];
    pair.server.addService(Health, {
      check: (_request, call) => {
        calls.push(call);
        return {};
      },
    });
    const headers = { 'x-text': ['a', 'b, c'], 'x-data-bin': 'AQI,AwQ=', 'x-empty': '' };
    await request(pair.session, CHECK, { headers });
    const metadata = calls[0]?.metadata;
    expect(metadata?.get('x-text')).toBe('a');
    expect(metadata?.getAll('x-text')).toEqual(['a', 'b, c']);
    expect(metadata?.get('x-empty')).toBe('');
    expect(metadata?.get('x-none')).toBeUndefined();
    expect(metadata?.getAllBinary('x-data-bin')).toEqual([Buffer.from([1, 2]), Buffer.from([3, 4])]);
    expect(metadata?.getBinary('x-data-bin')).toEqual(Buffer.from([1, 2]));
    expect(metadata?.getBinary('x-none-bin')).toBeUndefined();
    expect(metadata?.names()).toEqual(['te', 'content-type', 'x-text', 'x-data-bin', 'x-empty']);
  });

  it('of the answer leads or trails, text or bytes, once or several times', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, {
      check: (_request, call) => {
        call.setHeader('x-lead', 'one');
        call.setHeader('x-lead-bin', new Uint8Array([1, 2, 255]));
        call.setTrailer('x-trail', 'a');
        call.setTrailer('x-trail', 'b');
        call.setTrailer('x-trail-bin', new Uint8Array([250]));
        return {};
      },
    });
    const reply = await request(pair.session, CHECK);
    expect(reply.headers).toMatchObject({ 'x-lead': 'one', 'x-lead-bin': 'AQL/' });
    expect(reply.trailers).toMatchObject({ 'x-trail': 'a, b', 'x-trail-bin': '+g', 'grpc-status': '0' });
  });

  it('goes with an answer that has nothing but a status', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, {
      check: (_request, call) => {
        call.setHeader('x-lead', 'one');
        call.setTrailer('x-trail', 'two');
        throw new IdentityError('not_found', '');
      },
    });
    const reply = await request(pair.session, CHECK);
    expect(reply.headers).toMatchObject({ 'x-lead': 'one', 'x-trail': 'two', 'grpc-status': '5' });
    expect(reply.headers['grpc-message']).toBeUndefined();
  });

  it('can go ahead of the first message', async () => {
    await using pair = await startPair('me');
    const go = Promise.withResolvers<void>();
    pair.server.addService(Health, {
      check: async (_request, call) => {
        call.setHeader('x-lead', 'early');
        call.sendHeaders();
        expect(() => call.setHeader('x-late', 'x')).toThrow(IdentityError);
        await go.promise;
        return {};
      },
    });
    const stream = open(pair.session, CHECK);
    stream.end(Buffer.alloc(5));
    const reply = replyOf(stream);
    const headers = await new Promise((resolve) => stream.once('response', resolve));
    expect(headers).toMatchObject({ 'x-lead': 'early' });
    go.resolve();
    expect((await reply).trailers['grpc-status']).toBe('0');
  });

  it.for([
    ['x-a', new Uint8Array()],
    ['x-a-bin', 'text'],
    ['X-A', 'upper'],
    ['grpc-status', '0'],
    [':status', '200'],
    ['x-a', 'line\nbreak'],
    ['x-a', 'ünicode'],
    ['', 'x'],
  ] as const)('"%s" that cannot be sent is the handler\'s mistake', async ([name, value]) => {
    const errors: unknown[] = [];
    await using pair = await startPair('me', { onError: (error) => errors.push(error) });
    pair.server.addService(Health, {
      check: (_request, call) => {
        call.setTrailer(name, value);
        return {};
      },
    });
    expect((await request(pair.session, CHECK)).trailers['grpc-status']).toBe('13');
    expect(errors).toHaveLength(1);
  });
});

describe('a status', () => {
  it('carries details and when to try again', async () => {
    await using pair = await startPair('me');
    const info = create(ErrorInfoSchema, { reason: 'AGENT_BANNED', domain: 'example.org' });
    pair.server.addService(Health, {
      check: () => {
        throw new DetailedError('permission_denied', 'no – never', {
          details: [{ desc: ErrorInfoSchema, message: info }],
          retryAfterMs: 1_250,
        });
      },
    });
    const { trailers } = await request(pair.session, CHECK);
    const status = fromBinary(StatusSchema, Buffer.from(String(trailers['grpc-status-details-bin']), 'base64'));
    expect(status).toMatchObject({ code: 7, message: 'no – never' });
    const [first, second] = status.details;
    expect(first?.typeUrl).toBe('type.googleapis.com/google.rpc.ErrorInfo');
    expect(first && anyUnpack(first, ErrorInfoSchema)).toEqual(info);
    expect(second && anyUnpack(second, RetryInfoSchema)).toMatchObject({ retryDelay: { seconds: 1n, nanos: 250_000_000 } });
  });

  it('has any text percent-encoded, which decodes to the same', () => {
    expect(percentEncode('\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n')).toBe(
      '%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP %F0%9F%98%88%09%0A',
    );
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const encoded = percentEncode(text);
        expect(encoded).toMatch(/^[\x20-\x7e]*$/);
        expect(decodeURIComponent(encoded)).toBe(text);
      }),
    );
  });

  it('with an endless text still arrives', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, {
      check: () => {
        throw new IdentityError('not_found', 'x'.repeat(1_000_000));
      },
    });
    const { trailers } = await request(pair.session, CHECK);
    expect(trailers['grpc-status']).toBe('5');
    expect(trailers['grpc-message']).toHaveLength(2_000);
  });
});
