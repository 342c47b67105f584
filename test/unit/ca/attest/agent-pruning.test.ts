import { describe, expect, test } from 'vitest';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestByToken, attestTestAgent } from '../../../support/test-agent.ts';

const HOUR_MS = 3_600_000;
const own = (path: string) => ({ trustDomain: 'example.org', path });

/** In steps, so that what a timer began can end before the next one fires. */
async function letPass(clock: ManualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += STEP_MS) {
    clock.advance(STEP_MS);
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}
const STEP_MS = 6 * 60_000;

describe('pruning of agents', () => {
  test('forgets those whose SVID ran out long ago, with the alias of their token, and never a banned one', async () => {
    const clock = new ManualClock(Date.now());
    await using ca = await RunningCa.start({ clock, yaml: 'pruneAgentsAfter: 2h' });
    const agents = ca.local(Agent);
    const { value } = await agents.createJoinToken({ ttl: 60, agentId: own('/nodes/gone') });
    await attestByToken(ca.remote(), value);
    const banned = await attestTestAgent(ca);
    await agents.banAgent({ id: own(banned.id.path) });
    const paths = async () => (await agents.listAgents({})).agents.map(({ id }) => id?.path);
    await letPass(clock, 2 * HOUR_MS);
    await expect.poll(paths).toHaveLength(2);
    await letPass(clock, 2 * HOUR_MS);
    await expect.poll(paths).toEqual([banned.id.path]);
    expect((await ca.local(Entry).countEntries({ filter: { bySpiffeId: own('/nodes/gone') } })).count).toBe(0);
  });

  test('is off unless it is configured', async () => {
    const clock = new ManualClock(Date.now());
    await using ca = await RunningCa.start({ clock });
    await attestTestAgent(ca);
    await letPass(clock, 6 * HOUR_MS);
    await expect.poll(async () => (await ca.local(Agent).countAgents({})).count).toBe(1);
  });
});
