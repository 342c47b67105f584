import { describe, expect, it } from 'vitest';
import type { Call, CallEnd } from '../../../../runtime/grpc/call.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { Health } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { open, replyOf, request, startPair } from './raw-client.ts';

const CHECK = '/grpc.health.v1.Health/Check';
const WATCH = '/grpc.health.v1.Health/Watch';

describe('a deadline', () => {
  it('ends the call and aborts its signal', async () => {
    const clock = new ManualClock();
    const called = Promise.withResolvers<Call<string>>();
    await using pair = await startPair('me', { clock });
    pair.server.addService(Health, {
      check: (_request, call) => {
        called.resolve(call);
        return new Promise(() => {});
      },
    });
    const stream = open(pair.session, CHECK, { 'grpc-timeout': '1500m' });
    stream.end(Buffer.alloc(5));
    const call = await called.promise;
    expect(call.deadlineMs).toBe(clock.monotonicMs() + 1500);
    clock.advance(1499);
    expect(call.signal.aborted).toBe(false);
    clock.advance(1);
    expect(call.signal.reason).toMatchObject({ code: 'deadline_exceeded' });
    expect((await replyOf(stream)).trailers['grpc-status']).toBe('4');
  });

  it.for(['1', '123456789S', '-1S', '1.5S', '1 S', 'S', '1s'])('that reads "%s" is refused', async (timeout) => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => ({}) });
    const reply = await request(pair.session, CHECK, { headers: { 'grpc-timeout': timeout } });
    expect(reply.trailers['grpc-status']).toBe('13');
  });

  it.for(['1H', '1M', '1S', '99999999m', '99999999u', '99999999n'])('that reads "%s" is taken', async (timeout) => {
    await using pair = await startPair('me');
    pair.server.addService(Health, { check: () => ({}) });
    const reply = await request(pair.session, CHECK, { headers: { 'grpc-timeout': timeout } });
    expect(reply.trailers['grpc-status']).toBe('0');
  });
});

describe('a call', () => {
  it('has its signal aborted when the caller cancels', async () => {
    const called = Promise.withResolvers<Call<string>>();
    await using pair = await startPair('me');
    pair.server.addService(Health, {
      check: (_request, call) => {
        called.resolve(call);
        return new Promise(() => {});
      },
    });
    const stream = open(pair.session, CHECK);
    stream.end(Buffer.alloc(5));
    const call = await called.promise;
    const aborted = new Promise((resolve) => call.signal.addEventListener('abort', resolve));
    stream.close(8);
    await aborted;
    expect(call.signal.reason).toMatchObject({ code: 'cancelled' });
    expect(call.ended).toBe(true);
  });

  it('gives an aborted signal also when that is first read afterwards', async () => {
    const called = Promise.withResolvers<Call<string>>();
    await using pair = await startPair('me');
    pair.server.addService(Health, {
      check: (_request, call) => {
        called.resolve(call);
        return new Promise(() => {});
      },
    });
    const stream = open(pair.session, CHECK);
    stream.end(Buffer.alloc(5));
    const call = await called.promise;
    const ended = new Promise<void>((resolve) => call.onEnd(resolve));
    pair.session.destroy();
    await ended;
    await new Promise(setImmediate);
    expect(call.signal.aborted).toBe(true);
    await new Promise<void>((resolve) => call.onEnd(resolve));
  });

  it('can be ended from outside its handler', async () => {
    await using pair = await startPair('me');
    const calls: Call<string>[] = [];
    pair.server.addService(Health, {
      watch: (_request, call) => {
        calls.push(call);
        return { value: { status: 1 }, subscribe: () => () => {} };
      },
    });
    const stream = open(pair.session, WATCH);
    stream.end(Buffer.alloc(5));
    const reply = replyOf(stream);
    await new Promise((resolve) => stream.once('data', resolve));
    calls[0]?.fail(new IdentityError('permission_denied', 'banned'));
    calls[0]?.fail(new IdentityError('internal', 'too late'));
    expect((await reply).trailers).toMatchObject({ 'grpc-status': '7', 'grpc-message': 'banned' });
  });

  it('is reset when it failed and its caller does not read what was sent', async () => {
    const clock = new ManualClock();
    await using pair = await startPair('me', { clock });
    const calls: Call<string>[] = [];
    pair.server.addService(Health, {
      async *watch(_request, call) {
        calls.push(call);
        call.setHeader('x-big', 'x'.repeat(100));
        for (;;) yield { status: 1 };
      },
    });
    const stream = open(pair.session, WATCH);
    stream.end(Buffer.alloc(5));
    await new Promise((resolve) => stream.once('readable', resolve));
    for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate);
    calls[0]?.fail(new IdentityError('permission_denied', 'banned'));
    const closed = new Promise((resolve) => stream.once('close', resolve));
    clock.advance(5_000);
    await closed;
    expect(stream.rstCode).toBe(8);
  });
});

describe('the hooks', () => {
  it('authorize runs before the handler and may refuse, at once or later', async () => {
    let handled = 0;
    await using pair = await startPair('me', {
      authorize: ({ metadata, peer }) => {
        const error = new IdentityError('permission_denied', `not ${peer}`);
        if (metadata.get('refuse') === 'now') throw error;
        if (metadata.get('refuse') === 'later') return Promise.reject(error);
        return metadata.get('wait') === 'yes' ? new Promise((resolve) => setImmediate(resolve)) : undefined;
      },
    });
    pair.server.addService(Health, {
      check: () => {
        handled += 1;
        return {};
      },
    });
    for (const refuse of ['now', 'later']) {
      const reply = await request(pair.session, CHECK, { headers: { refuse } });
      expect(reply.trailers).toMatchObject({ 'grpc-status': '7', 'grpc-message': 'not me' });
    }
    expect(handled).toBe(0);
    expect((await request(pair.session, CHECK, { headers: { wait: 'yes' } })).trailers['grpc-status']).toBe('0');
    expect(handled).toBe(1);
  });

  it('onCallEnd is told of each call once, with a name that is safe as a label', async () => {
    const ends: CallEnd<string>[] = [];
    const clock = new ManualClock();
    const cause = new Error('cause');
    await using pair = await startPair('me', { clock, onCallEnd: (end) => ends.push(end) });
    pair.server.addService(Health, {
      check: () => {
        clock.advance(7);
        return {};
      },
      list: () => {
        throw new IdentityError('aborted', 'x', { cause });
      },
    });
    await request(pair.session, CHECK);
    await request(pair.session, '/grpc.health.v1.Health/List');
    await request(pair.session, WATCH);
    await request(pair.session, '/attacker.chosen/Name');
    const [check, list, ...others] = ends;
    expect(check).toEqual({ method: CHECK, code: 0, durationMs: 7, peer: 'me', error: undefined });
    expect(list).toMatchObject({ code: 10, error: { cause } });
    expect(others.map(({ method, code }) => [method, code])).toEqual([
      ['unknown', 12],
      ['unknown', 12],
    ]);
  });
});
