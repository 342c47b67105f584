import { expect, test } from 'vitest';
import { EntryReconciler } from '../../../../controller/entries/entry-reconciler.ts';
import { entryKey, fieldsFingerprint } from '../../../../controller/identity/entry-key.ts';
import type { DesiredEntry } from '../../../../controller/ports.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

function entry(pod: string, admin: boolean): DesiredEntry {
  const identity = {
    spiffeId: 'spiffe://example.org/op',
    parentId: 'spiffe://example.org/agent',
    selectors: [`k8s:pod-uid:${pod}`],
  };
  const fields = { federatesWith: [], dnsNames: [], hint: '', storeSvid: false, jwtClaims: undefined, admin, downstream: false };
  return { ...identity, ...fields, key: entryKey(identity), x509SvidTtlSeconds: 0, jwtSvidTtlSeconds: 0 };
}

test('an ID comes to have power when the entries that must not have it are gone', async () => {
  const before = entry('a', false);
  const after = [entry('b', true), entry('c', true)];
  const written: string[] = [];
  const byKey = new Map(after.map((each) => [each.key, each]));
  const declarer = { kind: 'StaticIdentity', namespace: '', name: 'x', uid: '', createdAtMs: 0, deleting: false };
  const actualOf = (id: string, { key, ...fields }: DesiredEntry) => {
    return { id, key, fingerprint: fieldsFingerprint(fields), revision: 1n };
  };
  const entries = new EntryReconciler({
    desired: {
      desired: (key) => {
        const wanted = byKey.get(key);
        return wanted && { entry: wanted, declarer, pod: '' };
      },
      keys: () => byKey.keys(),
    },
    client: {
      async *list() {
        yield [actualOf('main.a', before), actualOf('main.c', { ...entry('c', false) })];
      },
      async *listRevisions() {
        yield [];
      },
      get: () => Promise.resolve(undefined),
      create: (batch) => {
        written.push(...batch.map(() => 'create'));
        return Promise.resolve(batch.map(({ id, entry: made }) => ({ kind: 'created', actual: actualOf(id, made) })));
      },
      update: (batch) => {
        written.push(...batch.map(({ id }) => `update ${id}`));
        return Promise.resolve(batch.map(({ id, entry: made }) => ({ kind: 'updated', actual: actualOf(id, made) })));
      },
      delete: (ids) => {
        written.push(...ids.map((id) => `delete ${id}`));
        return Promise.resolve(ids.map(() => undefined));
      },
    },
    prefix: 'main.',
    clock: new ManualClock(),
    log: createLogger({ level: 'fatal', name: 'test' }),
    driftCheckMs: 300_000,
    massDeletion: 'refuse',
    onFailures: () => {},
  });
  const stop = new AbortController();
  const settled = Promise.withResolvers<void>();
  entries.settled.subscribe((isSettled) => {
    if (isSettled) settled.resolve();
  });
  const running = entries.run(stop.signal);
  await settled.promise;
  stop.abort();
  await running;
  expect(written).toEqual(['delete main.a', 'create', 'update main.c']);
});
