// What /metrics of the agent tells about new entries and about attestation.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AgentRig } from '../../../support/agent-rig.ts';
import { ownUid } from '../../../support/stand-in-ca.ts';

let rig: AgentRig;
beforeEach(async () => {
  const listen = { workload: 'unix:./api.sock', admin: 'unix:./admin.sock', http: '127.0.0.1:0' };
  rig = await AgentRig.start({ config: { listen } });
  await rig.ready();
  await rig.fetchX509();
});
afterEach(() => rig[Symbol.asyncDispose]());

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${rig.agent.httpPort}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1) ?? 0);
}

test('the time from a new entry to its SVID, of entries that come while the agent serves', async () => {
  expect(await metric('countersign_agent_entry_to_svid_seconds_count')).toBe(0);
  rig.ca.put({ id: 'api', path: '/api', selectors: [ownUid] });
  await rig.until(async () => (await metric('countersign_agent_entry_to_svid_seconds_count')) === 1);
  expect(await metric('countersign_agent_entry_to_svid_seconds_sum')).toBe(0);
  rig.ca.put({ id: 'api', path: '/api/v2', selectors: [ownUid] });
  await rig.until(async () => (await rig.fetchX509()).svids.some(({ spiffeId }) => spiffeId.endsWith('/v2')));
  expect(await metric('countersign_agent_entry_to_svid_seconds_count')).toBe(1);
});

test('the time that each attestor takes', async () => {
  expect(await metric('countersign_agent_attestation_seconds_count{attestor="unix",outcome="ok"}')).toBeGreaterThan(0);
});
