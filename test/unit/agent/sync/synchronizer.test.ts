import { afterEach, describe, expect, test } from 'vitest';

import { IdentityError } from '../../../../core/errors.ts';
import type { X509SVIDResponse } from '../../../../proto/gen/spiffe/workload/workload_pb.ts';
import { AgentRig, codeOf } from '../../../support/agent-rig.ts';
import { ownUid } from '../../../support/stand-in-ca.ts';
import { TestCa } from '../../../support/test-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const ids = async (): Promise<string[]> =>
  (await rig.fetchX509()).svids.map(({ spiffeId }) => spiffeId.slice('spiffe://example.org'.length));

describe('watching', () => {
  test('acknowledges each revision that is in force', async () => {
    rig = await (await AgentRig.start()).ready();
    rig.ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2 });
    await rig.until(async () => (await ids()).length === 2);
    await rig.until(() => rig.ca.acknowledged.length === 2);
    expect(rig.ca.subscriptions).toEqual([{ feedId: '', revision: 0n }]);
  });

  test('keeps serving while the CA is away, comes back, and asks only for what changed since', async () => {
    rig = await (await AgentRig.start()).ready();
    await ids();
    const known = rig.ca.acknowledged.at(-1);
    const port = await rig.ca.down();
    rig.ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2 });
    await rig.pass(20_000);
    expect(await ids()).toEqual(['/web']);
    await rig.ca.up(port);
    await rig.until(async () => (await ids()).length === 2, 1_000);
    expect(rig.ca.subscriptions.at(-1)).toEqual({ feedId: 'feed-1', revision: known });
    // What was there before was not signed again.
    expect(rig.ca.signed).toEqual(['web', 'b']);
  });

  test('watches again at once when the CA ends the stream because the agent has a newer SVID', async () => {
    rig = await (await AgentRig.start()).ready();
    await rig.until(() => rig.ca.acknowledged.length === 1);
    rig.ca.endWatches(new IdentityError('aborted', 'the agent has a newer SVID; watch again with that'));
    // The clock stands still: nothing was waited for.
    await rig.until(() => rig.ca.subscriptions.length === 2);
    expect(rig.ca.subscriptions.at(-1)).toEqual({ feedId: 'feed-1', revision: rig.ca.acknowledged[0] });
  });

  test('takes a snapshot from a CA with another history: what it does not name is gone', async () => {
    rig = await (await AgentRig.start()).ready();
    rig.ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2 });
    await rig.until(async () => (await ids()).length === 2);
    const port = await rig.ca.down();
    rig.ca.remove('b');
    rig.ca.feedId = 'feed-2';
    await rig.ca.up(port);
    await rig.until(async () => (await ids()).length === 1, 1_000);
    expect(await ids()).toEqual(['/web']);
  });

  test('says which resource it cannot read, keeps what it had under that name, and goes on', async () => {
    rig = await (await AgentRig.start()).ready();
    rig.ca.corrupt('web');
    rig.ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2 });
    await rig.until(async () => (await ids()).length === 2);
    expect(rig.ca.refused).toEqual(['web']);
  });

  test('follows federated bundles as they come and go', async () => {
    rig = await (
      await AgentRig.start({
        prepare: (ca) => ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { federatesWith: ['foreign.org'] } }),
      })
    ).ready();
    const stream = rig.watchX509();
    const names = async () => Object.keys(((await stream.next()).value as X509SVIDResponse).federatedBundles);
    expect(await names()).toEqual([]);
    rig.ca.putBundle(TestCa.create({ trustDomain: 'foreign.org' }).bundle());
    expect(await names()).toEqual(['spiffe://foreign.org']);
    rig.ca.removeBundle('foreign.org');
    expect(await names()).toEqual([]);
  });
});

describe('polling a server that cannot be watched', () => {
  const polling = async (): Promise<AgentRig> =>
    (await AgentRig.start({ prepare: (ca) => void (ca.isWatchable = false) })).ready();

  test('asks every five seconds', async () => {
    rig = await polling();
    const rounds = (): number => rig.ca.calls.filter((name) => name === 'SyncAuthorizedEntries').length;
    expect(rounds()).toBe(1);
    const startMs = rig.clock.nowMs();
    await rig.until(() => rounds() === 5, 250);
    expect(rig.clock.nowMs() - startMs).toBeGreaterThanOrEqual(20_000);
    expect(rig.clock.nowMs() - startMs).toBeLessThan(25_000);
  });

  test('sees new, changed and removed entries and signs nothing without need', async () => {
    rig = await polling();
    await ids();
    rig.ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2 });
    await rig.until(async () => (await ids()).length === 2, 1_000);
    rig.ca.put({ id: 'b', path: '/c', selectors: [ownUid], createdAt: 2 });
    await rig.until(async () => (await ids()).includes('/c'), 1_000);
    rig.ca.remove('b');
    await rig.until(async () => (await ids()).length === 1, 1_000);
    expect(rig.ca.signed).toEqual(['web', 'b', 'b']);
  });

  test('asks of many entries for those that are new or changed only', async () => {
    rig = await (
      await AgentRig.start({
        prepare: (ca) => {
          ca.isWatchable = false;
          ca.pageSize = 2;
          for (let index = 0; index < 4; index++)
            ca.put({ id: `e${index}`, path: `/e${index}`, selectors: [ownUid], createdAt: 2 });
        },
      })
    ).ready();
    expect(await ids()).toEqual(['/web', '/e0', '/e1', '/e2', '/e3']);
    rig.ca.requestedEntries.length = 0;
    rig.ca.put({ id: 'e2', path: '/changed', selectors: [ownUid], createdAt: 2 });
    rig.ca.remove('e1');
    await rig.until(async () => (await ids()).includes('/changed'), 1_000);
    expect(await ids()).toEqual(['/web', '/e0', '/changed', '/e3']);
    expect(rig.ca.requestedEntries).toEqual(['e2']);
  });

  test('fetches the bundles that entries federate with; one that the server lacks is left out', async () => {
    rig = await polling();
    const foreign = TestCa.create({ trustDomain: 'foreign.org' });
    rig.ca.putBundle(foreign.bundle());
    rig.ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { federatesWith: ['foreign.org', 'unknown.org'] } });
    await rig.until(async () => Object.keys((await rig.fetchX509()).federatedBundles).length === 1, 1_000);
  });

  test('watches once the server that comes back can be watched', async () => {
    rig = await polling();
    const port = await rig.ca.down();
    rig.ca.isWatchable = true;
    await rig.pass(10_000);
    expect(await ids()).toEqual(['/web']);
    await rig.ca.up(port);
    await rig.until(() => rig.ca.subscriptions.length > 0, 1_000);
    expect(await codeOf(rig.fetchX509())).toBeUndefined();
  });
});
