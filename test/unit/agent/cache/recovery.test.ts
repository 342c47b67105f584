import { afterEach, expect, test } from 'vitest';
import { AgentRig } from '../../../support/agent-rig.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const HOUR_MS = 3_600_000;

// The pauses between attempts are random, so more than one try.
test.each([1, 2, 3])('what is due after a long outage is signed within five seconds of the CA’s return (%d)', async () => {
  rig = await (await AgentRig.start()).ready();
  const serve = async () => (await rig.fetchX509()).svids[0]?.x509Svid ?? Buffer.of();
  const before = await serve();
  const port = await rig.ca.down();
  // Just short of the SVID's end; attempts have been failing since half of its life.
  await rig.pass(0.9 * HOUR_MS);
  expect(await serve()).toEqual(before);
  await rig.ca.up(port);
  const backMs = rig.clock.nowMs();
  await rig.until(async () => Buffer.compare(await serve(), before) !== 0, 50);
  expect(rig.clock.nowMs() - backMs).toBeLessThan(5_000);
});
