import { expect, test } from 'vitest';
import { PolicyClient } from '../../../../controller/policies/policy-client.ts';
import { batchesOf } from '../../../../controller/policies/policy-changes.ts';
import { ownerOfDocument } from '../../../../policy/document-owner.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { StandInPolicies } from '../../../support/stand-in-policies.ts';

const NOTHING = { set: [], deleted: [], countsDryRun: false };

test('a simulation that takes too long ends, and says so', async () => {
  await using ca = await StandInPolicies.start();
  ca.simulation = new Promise<never>(() => {});
  const asked = new PolicyClient(ca.connection).simulate(NOTHING, { signal: new AbortController().signal, timeoutMs: 50 });
  await expect(asked).rejects.toMatchObject({ name: 'IdentityError', code: 'deadline_exceeded' });
});

test('what the CA refuses comes as it was meant', async () => {
  await using ca = await StandInPolicies.start();
  ca.failure = new IdentityError('permission_denied', 'controllers only');
  const client = new PolicyClient(ca.connection);
  const { signal } = new AbortController();
  const list = async (): Promise<void> => {
    for await (const part of client.list(signal)) expect(part).toEqual([]);
  };
  await expect(list()).rejects.toMatchObject({ code: 'permission_denied' });
  await expect(client.set([], signal)).rejects.toMatchObject({ code: 'permission_denied' });
  await expect(client.delete([], signal)).rejects.toMatchObject({ code: 'permission_denied' });
});

test.each([
  ['set[0].document: must have at most 9 bytes', 'must have at most 9 bytes'],
  [
    'set[0].document.spec.rules[0].when: is no CEL\nset[0].document.spec.sel: unknown key',
    'spec.rules[0].when: is no CEL\nspec.sel: unknown key',
  ],
  ['deleted[2].name: must not be empty', 'must not be empty'],
])('%s: where it stood in the request is left out', async (said, told) => {
  await using ca = await StandInPolicies.start();
  ca.simulation = new IdentityError('invalid_argument', said);
  const asked = new PolicyClient(ca.connection).simulate(NOTHING, { signal: new AbortController().signal, timeoutMs: 5_000 });
  await expect(asked).rejects.toMatchObject({ code: 'invalid_argument', message: told });
});

test.each([
  ['many small ones', Array.from({ length: 450 }, () => 10), [200, 200, 50]],
  ['large ones', [300_000, 300_000, 10, 600_000, 10], [1, 2, 1, 1]],
  ['one', [1], [1]],
  ['none', [], []],
])('batches of %s', (_what, lengths, sizes) => {
  const batches = [...batchesOf(lengths, (length) => length)];
  expect(batches.map((batch) => batch.length)).toEqual(sizes);
  expect(batches.flat()).toEqual(lengths);
});

test.each(['', 'null', '7', '{"resource":7}', '{"resource":{"metadata":{"labels":{"countersign.dev/controller":7}}}}'])(
  'a document %s is of no controller',
  (document) => {
    expect(ownerOfDocument(document)).toBeUndefined();
  },
);
