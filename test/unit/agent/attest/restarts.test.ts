import { afterEach, expect, test } from 'vitest';
import { AgentRig } from '../../../support/agent-rig.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const MINUTE_MS = 60_000;

test('an agent that restarts often renews its SVID at half of its life all the same', async () => {
  rig = await (await AgentRig.start()).ready();
  for (let restarts = 0; restarts < 4; restarts += 1) {
    await rig.pass(9 * MINUTE_MS);
    await rig.restart();
    await rig.ready();
  }
  await rig.until(() => rig.ca.calls.includes('RenewAgent'));
  expect(rig.ca.calls.filter((name) => name === 'AttestAgent')).toHaveLength(1);
});
