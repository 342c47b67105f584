import { expect, test } from 'vitest';
import { LazyIssuerKeys } from '../../../../agent/authz/lazy-issuer-keys.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { createMetrics } from '../../../../runtime/metrics.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

test('keys are fetched when they are first asked for, and counted', async () => {
  const log = createLogger({ level: 'fatal', name: 'agent' });
  await using keys = new LazyIssuerKeys({ clock: new ManualClock(), log, allowPrivateHosts: [] });
  const metrics = createMetrics();
  keys.registerMetrics(metrics);
  // An address of this machine, which no RequestAuthentication may make the agent call.
  await expect(keys.keysOf({ issuer: 'https://127.0.0.1/' }, 'key-1')).rejects.toMatchObject({ code: 'unavailable' });
  expect(await metrics.metrics()).toMatch(
    /^countersign_issuer_key_fetches_total\{issuer="https:\/\/127.0.0.1\/",outcome="failed"\} 1$/m,
  );
});
