import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { CountedKind } from '../../ca/calls/call-kind.ts';
import type { CallFilter, CallStore } from '../../ca/calls/call-store.ts';
import type { Store } from '../../ca/store/store.ts';
import { ManualClock } from './manual-clock.ts';
import { callKind, pathsAndCounts, seen } from './recorded-kinds.ts';
import type { StoreUnderTest } from './store-suite.ts';

const HOUR_MS = 3_600_000;
const NOON_MS = Date.parse('2026-01-31T12:00:00Z');
const ORDERS = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders' } as const;

/** What every store of recorded calls must do. */
export function callStoreSuite(name: string, setUp: () => Promise<StoreUnderTest>): void {
  describe(`recorded calls: ${name}`, () => {
    let stores: StoreUnderTest;
    let store: Store;
    let calls: CallStore;
    let serial = 0;
    const clock = new ManualClock();
    beforeAll(async () => {
      stores = await setUp();
      store = await stores.open(clock);
    });
    beforeEach(async () => {
      calls = store.calls;
      const late = Number.MAX_SAFE_INTEGER;
      await calls.prune({ callsMs: late, batchesMs: late, hitsMs: late });
    });
    afterAll(async () => store[Symbol.asyncDispose]());

    const batch = (...own: ReturnType<typeof seen>[]) => ({ agentId: 'a', batchId: String((serial += 1)), calls: own });
    const add = (...own: ReturnType<typeof seen>[]) => calls.add([batch(...own)], NOON_MS);
    const listed = async (filter: CallFilter = { sinceMs: 0 }): Promise<readonly CountedKind[]> =>
      (await Array.fromAsync(calls.list(filter))).flat();

    test('a kind comes back as it was reported, with its counts and the last time', async () => {
      const full = callKind({
        rule: { policy: ORDERS, rule: 2 },
        dryRunRule: { policy: ORDERS, rule: 0 },
        wouldDeny: true,
        verdict: 'deny',
        reason: 'denied_by_rule',
      });
      await add(seen(full, 3, NOON_MS + 5));
      await add(seen(full, 4, NOON_MS + 2));
      await add(seen(full, 10, NOON_MS + 3 * HOUR_MS));
      const source = { namespace: 'shop', serviceAccount: 'web' };
      expect(await listed()).toEqual([{ kind: full, source, count: 17, lastSeenAtMs: NOON_MS + 3 * HOUR_MS }]);
    });

    test('a caller without an identity and a connection are kinds too', async () => {
      const { destination, verdict, reason, wouldDeny, point } = callKind();
      const connection = { source: '', destination, verdict, reason, wouldDeny, point };
      await add(seen(connection, 1, NOON_MS));
      expect((await listed()).map(({ kind }) => kind)).toEqual([connection]);
    });

    test('a batch counts once, also within one transaction; of another agent it is another', async () => {
      const one = batch(seen(callKind(), 5, NOON_MS));
      expect(await calls.add([one, one], NOON_MS)).toMatchObject({ repeated: 1, folded: 0 });
      expect(await calls.add([one], NOON_MS)).toMatchObject({ repeated: 1, folded: 0 });
      expect(await calls.add([{ ...one, agentId: 'b' }], NOON_MS)).toMatchObject({ repeated: 0, folded: 0 });
      expect(pathsAndCounts(await listed())).toEqual([['/orders/{id}', 10]]);
    });

    test('lists kinds seen since a time, of one namespace, and any number of them', async () => {
      const many = Array.from({ length: 230 }, (_, index) => seen(callKind({ path: `/${index}` }), 1, NOON_MS));
      await add(...many);
      const elsewhere = callKind({ path: '/late' });
      const destination = { ...elsewhere.destination, namespace: 'billing' };
      await add(seen({ ...elsewhere, destination }, 2, NOON_MS + 2 * HOUR_MS));
      expect(await listed()).toHaveLength(231);
      expect(pathsAndCounts(await listed({ sinceMs: NOON_MS + 1 }))).toEqual([['/late', 2]]);
      expect(await listed({ sinceMs: 0, destinationNamespace: 'billing' })).toHaveLength(1);
      expect(await listed({ sinceMs: 0, destinationNamespace: 'none' })).toEqual([]);
    });

    test('what the caller is registered as is remembered when nothing is known of it any more', async () => {
      await add(seen(callKind(), 1, NOON_MS));
      await add({ ...seen(callKind(), 1, NOON_MS + HOUR_MS), source: {} });
      expect((await listed())[0]?.source).toEqual({ namespace: 'shop', serviceAccount: 'web' });
      await add({ ...seen(callKind(), 1, NOON_MS + 2 * HOUR_MS), source: { namespace: 'new' } });
      expect((await listed())[0]?.source).toEqual({ namespace: 'new', serviceAccount: 'web' });
    });

    test('counts calls that rules of AUDIT policies match', async () => {
      const audit = { policy: { ...ORDERS, name: 'audit' }, rule: 0 };
      const kind = callKind({ rule: { policy: ORDERS, rule: 1 }, auditRules: [audit] });
      await add(
        seen(kind, 3, NOON_MS),
        ...Array.from({ length: 20 }, (_, index) => seen({ ...kind, point: `p${index}` }, 1, NOON_MS)),
      );
      const hits = await calls.hits(NOON_MS);
      expect(hits.get('AuthorizationPolicy/shop/audit')).toEqual({ hits: 23, wouldDenyHits: 0 });
      expect(hits.get('AuthorizationPolicy/shop/orders')).toEqual({ hits: 23, wouldDenyHits: 0 });
      expect((await listed())[0]?.kind.auditRules).toEqual([audit]);
    });

    test('counts by policy what it decided, and what it would have denied', async () => {
      const rule = { policy: ORDERS, rule: 1 };
      await add(seen(callKind({ rule }), 3, NOON_MS), seen(callKind({ rule, path: '/b' }), 4, NOON_MS + HOUR_MS));
      const wouldDenyPolicies = ['AuthorizationPolicy/shop/new'];
      await add({ ...seen(callKind({ wouldDeny: true }), 6, NOON_MS), wouldDenyPolicies });
      expect(await calls.hits(NOON_MS)).toEqual(
        new Map([
          ['AuthorizationPolicy/shop/orders', { hits: 7, wouldDenyHits: 0 }],
          ['AuthorizationPolicy/shop/new', { hits: 0, wouldDenyHits: 6 }],
        ]),
      );
      expect(await calls.hits(NOON_MS + HOUR_MS)).toEqual(
        new Map([['AuthorizationPolicy/shop/orders', { hits: 4, wouldDenyHits: 0 }]]),
      );
    });

    test('forgets what is old and nothing else', async () => {
      const rule = { policy: ORDERS, rule: 1 };
      const both = seen(callKind({ rule }), 1, NOON_MS);
      const old = Array.from({ length: 700 }, (_, index) => seen(callKind({ path: `/${index}` }), 1, NOON_MS));
      const repeated = batch(both, ...old);
      await calls.add([repeated], NOON_MS);
      await add({ ...both, lastSeenAtMs: NOON_MS + 2 * HOUR_MS });
      await calls.prune({ callsMs: NOON_MS + HOUR_MS, batchesMs: NOON_MS, hitsMs: NOON_MS + HOUR_MS });
      expect(pathsAndCounts(await listed())).toEqual([['/orders/{id}', 1]]);
      expect((await calls.hits(0)).get('AuthorizationPolicy/shop/orders')?.hits).toBe(1);
      // The batch is remembered still.
      expect(await calls.add([repeated], NOON_MS)).toMatchObject({ repeated: 1 });
      await calls.prune({ callsMs: 0, batchesMs: NOON_MS + 1, hitsMs: 0 });
      expect(await calls.add([repeated], NOON_MS)).toMatchObject({ repeated: 0 });
    });

    test('nothing of it moves the feed', async () => {
      const before = await store.headRevision();
      await add(seen(callKind(), 1, NOON_MS));
      expect(await store.headRevision()).toBe(before);
    });

    test('writers at the same time lose nothing', async () => {
      const kinds = Array.from({ length: 40 }, (_, index) => callKind({ path: `/${index}` }));
      const orders = [kinds, kinds.toReversed(), kinds, kinds.toReversed()];
      await Promise.all(orders.map((own) => add(...own.map((kind) => seen(kind, 2, NOON_MS)))));
      const counts = (await listed()).map(({ count }) => count);
      expect(counts).toEqual(Array.from({ length: 40 }, () => 8));
    });

    test('beyond a thousand kinds to a destination in an hour, calls are counted by caller and method, and none is lost', async () => {
      const flood = (from: number, count: number, method = 'GET') =>
        Array.from({ length: count }, (_, index) => {
          const kind = callKind({ path: `/f/${from + index}`, to: 'flooded' });
          return seen(
            { ...kind, request: { method, host: 'h', path: `/f/${from + index}`, grpcService: '', grpcMethod: '' } },
            1,
            NOON_MS,
          );
        });
      expect(await add(...flood(0, 990))).toMatchObject({ repeated: 0, folded: 0 });
      expect(await add(...flood(990, 20), ...flood(0, 5), ...flood(2000, 3, 'POST'))).toMatchObject({ repeated: 0, folded: 13 });
      // Another destination has room.
      expect(await add(seen(callKind(), 1, NOON_MS))).toMatchObject({ repeated: 0, folded: 0 });
      const kinds = (await listed()).filter(({ kind }) => kind.destination.serviceAccount === 'flooded');
      expect(kinds).toHaveLength(1002);
      expect(kinds.reduce((sum, { count }) => sum + count, 0)).toBe(1018);
      const nameless = kinds.filter(({ kind }) => kind.request?.path === '');
      expect(new Map(nameless.map(({ kind, count }) => [kind.request?.method, count]))).toEqual(
        new Map([
          ['GET', 10],
          ['POST', 3],
        ]),
      );
    });

    test('what was known of an hour is read again after a restart', async () => {
      await add(seen(callKind({ path: '/before' }), 1, NOON_MS));
      store = await stores.reopen(store, clock);
      calls = store.calls;
      await add(seen(callKind({ path: '/before' }), 1, NOON_MS), seen(callKind({ path: '/after' }), 1, NOON_MS));
      expect(pathsAndCounts(await listed())).toEqual([
        ['/after', 1],
        ['/before', 2],
      ]);
    });
  });
}
