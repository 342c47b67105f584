import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { WatchResponseSchema } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { EntrySchema } from '../../../../proto/gen/spire/api/types/entry_pb.ts';
import { WatchEncoder } from '../../../../ca/api/watch-encoding.ts';
import type { AgentDelta } from '../../../../ca/registry/registry.ts';
import { EncodedMessage } from '../../../../runtime/grpc/encoded-message.ts';
import { newEntry } from '../../../support/entries.ts';

const encoder = new WatchEncoder();
const entry = (id: string, dnsNames: readonly string[] = []) => ({
  entry: { ...newEntry({ dnsNames }), id, revisionNumber: 3, createdAtSeconds: 7 },
  revision: 5,
});
const delta = (fields: Partial<AgentDelta>): AgentDelta => {
  return { revision: 9, snapshot: false, put: [], removed: [], bundles: [], removedBundles: [], ...fields };
};
const parts = (of: AgentDelta, kinds: string[] = []) =>
  [...encoder.responses(of, { feedId: 'feed', kinds: new Set(kinds) })].map((part) =>
    part instanceof EncodedMessage ? fromBinary(WatchResponseSchema, part.bytes) : create(WatchResponseSchema, part),
  );

test('nothing to say is still one complete message', () => {
  expect(parts(delta({}))).toMatchObject([{ revision: 9n, feedId: 'feed', snapshot: false, complete: true, resources: [] }]);
});

test('an entry has its own revision, what is gone that of the delta', () => {
  const [part] = parts(delta({ put: [entry('a')], removed: ['b'], removedBundles: ['other.org'] }));
  expect(part?.resources).toMatchObject([
    { kind: 'bundle', name: 'other.org', revision: 9n, removed: true },
    { kind: 'entry', name: 'a', revision: 5n, removed: false },
    { kind: 'entry', name: 'b', revision: 9n, removed: true },
  ]);
  const wire = fromBinary(EntrySchema, part?.resources[1]?.value ?? new Uint8Array());
  expect(wire).toMatchObject({ id: 'a', revisionNumber: 3n, createdAt: 7n, spiffeId: { path: '/web' } });
});

test('parts stay far below what clients take, however large the entries are', () => {
  const dnsNames = Array.from({ length: 1000 }, (_, index) => `${'x'.repeat(60)}-${index}.example.org`);
  const found = parts(delta({ put: Array.from({ length: 100 }, (_, index) => entry(`e${index}`, dnsNames)) }));
  expect(found.length).toBeGreaterThan(5);
  expect(found.flatMap(({ resources }) => resources)).toHaveLength(100);
  for (const part of found) expect(toBinary(WatchResponseSchema, part).length).toBeLessThan(1.5 * 1024 * 1024);
  expect(found.map(({ complete }) => complete)).toEqual(found.map((part) => part === found.at(-1)));
});

test('the workloads of a snapshot are encoded once for all agents, and what changed since comes after them', () => {
  const workload = (index: number) => ({
    spiffeId: `spiffe://example.org/w/${index}`,
    metadata: { namespace: 'shop' },
    revision: 5,
  });
  const shared = Array.from({ length: 2500 }, (_, index) => workload(index));
  const authorization = {
    policyRevision: 0,
    policies: [],
    removedPolicies: [],
    sharedWorkloads: shared,
    workloads: [workload(2500)],
    removedWorkloads: ['spiffe://example.org/w/7'],
  };
  const answer = (kinds: string[] = []) => [
    ...encoder.responses(delta({ snapshot: true, authorization }), { feedId: 'feed', kinds: new Set(kinds) }),
  ];
  const [one, two] = [answer(), answer()];
  expect(one.slice(0, -1)).toHaveLength(3);
  for (const [index, part] of one.slice(0, -1).entries()) expect(two[index]).toBe(part);
  const answers = parts(delta({ snapshot: true, authorization }));
  expect(answers.map(({ complete, snapshot }) => [complete, snapshot])).toEqual([
    [false, true],
    [false, true],
    [false, true],
    [true, true],
  ]);
  expect(answers.at(-1)?.resources).toMatchObject([
    { kind: 'workload', name: 'spiffe://example.org/w/2500', removed: false },
    { kind: 'workload', name: 'spiffe://example.org/w/7', removed: true },
  ]);
  expect(answer(['entry'])).toHaveLength(1);
});
