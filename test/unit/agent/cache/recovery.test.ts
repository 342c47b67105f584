import { afterEach, expect, test } from 'vitest';
import { EntryRecord } from '../../../../agent/cache/entry-record.ts';
import type { AgentEntry } from '../../../../agent/cache/identities.ts';
import { X509Signer } from '../../../../agent/cache/x509-signer.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { AgentRig } from '../../../support/agent-rig.ts';
import { idAt } from '../../../support/entries.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

let rig: AgentRig | undefined;
afterEach(async () => {
  await rig?.[Symbol.asyncDispose]();
  rig = undefined;
});

const HOUR_MS = 3_600_000;

// The pauses between attempts are random, so more than one try.
test.each([1, 2, 3])('what is due after a long outage is signed within five seconds of the CA’s return (%d)', async () => {
  const started = (rig = await (await AgentRig.start()).ready());
  const serve = async () => (await started.fetchX509()).svids[0]?.x509Svid ?? Buffer.of();
  const before = await serve();
  const port = await started.ca.down();
  // Just short of the SVID's end; attempts have been failing since half of its life.
  await started.pass(0.9 * HOUR_MS);
  expect(await serve()).toEqual(before);
  await started.ca.up(port);
  const backMs = started.clock.nowMs();
  await started.until(async () => Buffer.compare(await serve(), before) !== 0, 50);
  expect(started.clock.nowMs() - backMs).toBeLessThan(5_000);
});

const entry: AgentEntry = {
  id: 'web',
  spiffeId: idAt('/web'),
  selectors: ['unix:uid:1'],
  federatesWith: [],
  hint: '',
  admin: false,
  downstream: false,
  dnsNames: [],
  x509SvidTtlSeconds: 0,
  jwtSvidTtlSeconds: 0,
  revisionNumber: 0n,
  createdAtSeconds: 0,
  disableX509SvidPrefetch: false,
  jwtSvidIncludeJti: false,
};

test('what could not be signed is tried at once when the CA is in touch again', async () => {
  const tried: number[] = [];
  const away = (): never => {
    tried.push(tried.length);
    throw new IdentityError('unavailable', 'the CA is away');
  };
  const issuer = { signX509Svids: away, signJwtSvid: away, signWitSvids: away };
  // Its clock stands still: no pause ends by itself.
  using signer = new X509Signer({
    issuer,
    clock: new ManualClock(),
    log: createLogger({ level: 'fatal', name: 'test' }),
    onAttempted() {},
  });
  signer.enqueue([new EntryRecord(entry)]);
  await expect.poll(() => tried.length).toBe(1);
  signer.retryNow();
  await expect.poll(() => tried.length).toBe(2);
});
