import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentStreams } from '../../../../ca/api/agent-streams.ts';
import { Inspection } from '../../../../proto/gen/countersign/admin/v1/inspection_pb.ts';
import { LocalAuthority } from '../../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { RunningCa } from '../../../support/running-ca.ts';

describe('AgentStreams', () => {
  const clock = new ManualClock();
  const late = (streams: AgentStreams) => streams.lagging({ longerThanMs: 5000, limit: 10 }).map(({ agentId }) => agentId);

  test('names a stream only when its acknowledgement is overdue', () => {
    const streams = new AgentStreams(clock);
    const quick = streams.open('quick');
    const slow = streams.open('slow');
    for (const stream of [quick, slow]) stream.sent(7);
    clock.advance(4000);
    quick.acknowledged(7);
    expect(late(streams)).toEqual([]);
    clock.advance(2000);
    expect(late(streams)).toEqual(['slow']);
    slow.acknowledged(7);
    expect(late(streams)).toEqual([]);
  });

  test('counts from the acknowledgement of what came before', () => {
    const streams = new AgentStreams(clock);
    using stream = streams.open('busy');
    stream.sent(1);
    clock.advance(4000);
    stream.sent(2);
    stream.acknowledged(1);
    clock.advance(4000);
    expect(late(streams)).toEqual([]);
    clock.advance(1001);
    expect(streams.lagging({ longerThanMs: 5000, limit: 10 })).toMatchObject([{ sentRevision: 2, acknowledgedRevision: 1 }]);
  });

  test('forgets a stream that ended, and lists no more than asked', () => {
    const streams = new AgentStreams(clock);
    const opened = ['a', 'b', 'c'].map((id) => streams.open(id));
    for (const stream of opened) stream.sent(1);
    clock.advance(6000);
    opened[0]?.[Symbol.dispose]();
    expect(streams.connected).toBe(2);
    expect(streams.lagging({ longerThanMs: 5000, limit: 1 })).toHaveLength(1);
  });
});

describe('countersign.admin.v1.Inspection', () => {
  let ca: RunningCa;
  beforeAll(async () => {
    ca = await RunningCa.start();
  });
  afterAll(() => ca[Symbol.asyncDispose]());

  test('GetStatus says how the replica is', async () => {
    await ca.local(LocalAuthority).prepareX509Authority({});
    const status = await ca.local(Inspection).getStatus({});
    expect(status).toMatchObject({ trustDomain: 'example.org', entries: 0, agents: { attested: 0, connected: 0, lagging: [] } });
    expect(status.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(status.components.map(({ name, ok }) => [name, ok])).toEqual([
      ['store', true],
      ['authorities', true],
      ['audit', true],
    ]);
    expect(status.authorities.map(({ kind, state }) => `${kind} ${state}`)).toEqual([
      'x509 active',
      'x509 prepared',
      'jwt active',
      'wit active',
    ]);
    expect(Math.abs(Number(status.nowMs) - ca.clock.nowMs())).toBeLessThan(60_000);
  });
});
