import { describe, expect, it } from 'vitest';
import { IdentityError } from '../../../../core/errors.ts';
import { encodeMessage } from '../../../../runtime/grpc/encoded-message.ts';
import { Health, HealthCheckRequestSchema, HealthCheckResponseSchema } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { framed, messagesOf, request, startPair } from './raw-client.ts';

const CHECK = '/grpc.health.v1.Health/Check';

describe('a unary call', () => {
  it('gets its request, its peer and answers', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, {
      check: ({ service }, call) => {
        expect([service, call.peer, call.method]).toEqual(['a', 'me', CHECK]);
        return { status: 1 };
      },
    });
    const reply = await request(pair.session, CHECK, { body: framed(HealthCheckRequestSchema, { service: 'a' }) });
    expect(reply.headers[':status']).toBe(200);
    expect(reply.headers['content-type']).toBe('application/grpc');
    expect(reply.trailers['grpc-status']).toBe('0');
    expect(messagesOf(HealthCheckResponseSchema, reply.data)[0]?.status).toBe(1);
  });

  it('answers with an encoded message', async () => {
    await using pair = await startPair('me');
    const answer = encodeMessage(HealthCheckResponseSchema, { status: 2 });
    pair.server.addService(Health, { check: () => answer });
    const reply = await request(pair.session, CHECK);
    expect(reply.data).toEqual(Buffer.from(answer.frame));
    expect(reply.trailers['grpc-status']).toBe('0');
  });

  it('ends with the code and text of an IdentityError', async () => {
    await using pair = await startPair('me');
    pair.server.addService(Health, {
      check: () => {
        throw new IdentityError('not_found', 'no “x” at 100%');
      },
    });
    const reply = await request(pair.session, CHECK);
    expect(reply.trailers['grpc-status']).toBe('5');
    expect(reply.trailers['grpc-message']).toBe('no %E2%80%9Cx%E2%80%9D at 100%25');
  });

  it('shows nothing of any other error', async () => {
    const reported: unknown[] = [];
    const secret = new Error('secret');
    await using pair = await startPair('me', { onError: (error) => reported.push(error) });
    pair.server.addService(Health, { check: () => Promise.reject(secret) });
    const reply = await request(pair.session, CHECK);
    expect(reply.trailers['grpc-status']).toBe('13');
    expect(reply.trailers['grpc-message']).toBe('internal error');
    expect(reported).toEqual([secret]);
  });
});
