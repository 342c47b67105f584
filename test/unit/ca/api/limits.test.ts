import { describe, expect, test } from 'vitest';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { SVID } from '../../../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import type { GrpcConnection } from '../../../../runtime/grpc-client.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestByToken, attestTestAgent } from '../../../support/test-agent.ts';
import { createTestCsr } from '../../../support/test-csr.ts';

const csr = createTestCsr({ uris: [] });

describe('rate limits of the API', () => {
  test('[SPIRE agent.v1.AttestAgent] attestations wait for their turn, and are refused when that is too late', async () => {
    await using ca = await RunningCa.start({ yaml: 'rateLimits: { attestation: 1, signing: 500 }' });
    const remote = ca.remote();
    const started = performance.now();
    const attempt = () => failureOf(attestByToken(remote, 'none'));
    expect((await Promise.all([attempt(), attempt()])).map(({ code }) => code)).toEqual(['invalid_argument', 'invalid_argument']);
    expect(performance.now() - started).toBeGreaterThan(800);
    const flood = await Promise.all(Array.from({ length: 30 }, () => failureOf(attestWithin(remote, 3000))));
    expect(flood.map(({ code }) => code)).toContain('resource_exhausted');
  });

  async function attestWithin(connection: GrpcConnection, timeoutMs: number): Promise<void> {
    async function* nothing() {}
    for await (const _ of connection.client(Agent).attestAgent(nothing(), { timeoutMs })) return;
  }

  test('[SPIRE svid.v1.BatchNewX509SVID, BatchNewWITSVID] a batch beyond a second’s signatures is refused', async () => {
    await using ca = await RunningCa.start({ yaml: 'rateLimits: { attestation: 0, signing: 3 }' });
    const signing = (await attestTestAgent(ca)).connection.client(SVID);
    const params = Array.from({ length: 4 }, () => ({ entryId: 'x', csr }));
    const failure = await failureOf(signing.batchNewX509SVID({ params }));
    expect(failure).toMatchObject({ code: 'resource_exhausted' });
    expect(failure.message).toContain('rate limiting');
    expect(await failureOf(signing.batchNewX509SVID({ params: params.slice(1) }))).toMatchObject({ code: 'ok' });
    expect(await failureOf(signing.batchNewWITSVID({ params: [{}, {}, {}, {}] }))).toMatchObject({ code: 'resource_exhausted' });
  });

  test('the private socket has none', async () => {
    await using ca = await RunningCa.start({ yaml: 'rateLimits: { attestation: 1, signing: 1 }' });
    const request = createTestCsr({ uris: ['spiffe://example.org/a'] });
    const minted = await Promise.all(Array.from({ length: 20 }, () => failureOf(ca.local(SVID).mintX509SVID({ csr: request }))));
    expect(minted.every(({ code }) => code === 'ok')).toBe(true);
  });
});

describe('streams', () => {
  test('[SPIRE agent.v1.AttestAgent] a silent one is ended after a minute', async () => {
    const clock = new ManualClock(Date.now());
    await using ca = await RunningCa.start({ clock });
    const before = clock.timers;
    const failure = failureOf(drain(ca.remote().client(Agent).attestAgent(silence())));
    await expect.poll(() => clock.timers).toBeGreaterThan(before);
    clock.advance(60_000);
    expect(await failure).toMatchObject({ code: 'deadline_exceeded' });
  });

  async function* silence(): AsyncGenerator<never> {
    await new Promise(() => {});
    yield* [];
  }

  async function drain(responses: AsyncIterable<unknown>): Promise<void> {
    for await (const _ of responses) void _;
  }
});

describe('messages', () => {
  test('[bad input] of more than four megabytes are refused', async () => {
    await using ca = await RunningCa.start();
    const failure = await failureOf(ca.local(SVID).mintX509SVID({ csr: new Uint8Array(5 * 1024 * 1024) }));
    expect(failure).toMatchObject({ code: 'resource_exhausted' });
  });
});
