// What agents decide reaches the CA: real processes, asked as Envoy asks.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toJsonString } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { CallSchema, Policies, type Call } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { ask, setPolicy, startAskingSystem, until } from '../support/asking-system.ts';
import { authz } from '../support/policy/policy-objects.ts';
import type { WholeSystem } from '../support/whole-system.ts';

const CANARY = 'canary-5ab0';
const SECRETS = { authorization: `Bearer ${CANARY}`, 'x-secret': CANARY };
let system: WholeSystem;

beforeAll(async () => {
  const authorization = '{ decisionLog: { sample: 1, hashKeyFile: ./hash.key }, calls: { interval: 1s } }';
  system = await startAskingSystem(authorization, (folder) => {
    writeFileSync(join(folder, 'hash.key'), `${'0123456789abcdef'.repeat(4)}\n`);
  });
});
afterAll(() => system[Symbol.asyncDispose]());

const passes = (method: string, path: string): Promise<boolean> => ask(system, { method, path, headers: SECRETS });
/** Until policy is there as well, which shows in what the agent answers. */
const untilPassing = (path: string): Promise<boolean> =>
  until(
    system,
    () => passes('GET', path),
    (isPassing) => isPassing,
  );

async function recorded(): Promise<readonly Call[]> {
  const calls: Call[] = [];
  for await (const part of system.admin(Policies).listCalls({})) calls.push(...part.calls);
  return calls;
}

/** Waits until the CA has a call. */
async function untilRecorded(isIt: (call: Call) => boolean): Promise<Call | undefined> {
  const calls = await until(system, recorded, (all) => all.some(isIt));
  return calls.find(isIt);
}

const isAt =
  (path: string) =>
  ({ request }: Call): boolean =>
    request?.pathTemplate === path;

test('calls of an agent are at the CA within seconds, counted by kind', async () => {
  await untilPassing('/ready');
  for (const id of [1, 2, 3]) expect(await passes('GET', `/baskets/${id}?token=${CANARY}`)).toBe(true);
  expect(await untilRecorded((call) => isAt('/baskets/{id}')(call) && call.count === 3n)).toMatchObject({
    sourceSpiffeId: 'spiffe://example.org/web',
    sourceNamespace: 'shop',
    sourceServiceAccount: 'web',
    destination: { spiffeId: 'spiffe://example.org/orders', namespace: 'shop', serviceAccount: 'orders' },
    request: { method: 'GET', host: 'orders.shop' },
    verdict: 'allow',
    point: 'ext_authz',
  });
});

test('a denial is recorded with its reason, and what a DryRun policy would deny with its rule', async () => {
  const internal = { to: [{ paths: [{ prefix: '/internal' }] }] };
  await setPolicy(system, 'no-internal', { action: 'DENY', mode: 'DryRun', rules: [internal] });
  // Changes come in their order: where this one holds, the one before does.
  await setPolicy(system, 'orders', { rules: [{ to: [{ methods: ['GET'] }] }] });
  await until(
    system,
    () => passes('DELETE', '/orders/7'),
    (isPassing) => !isPassing,
  );
  expect(await untilRecorded(({ verdict }) => verdict === 'deny')).toMatchObject({
    reason: 'no_rule_matches',
    request: { method: 'DELETE', pathTemplate: '/orders/{id}' },
  });
  expect(await passes('GET', '/internal/state')).toBe(true);
  expect(await untilRecorded(({ wouldDeny }) => wouldDeny)).toMatchObject({
    verdict: 'allow',
    rule: { policy: { name: 'orders' }, rule: 0 },
    dryRunRule: { policy: { name: 'no-internal' }, rule: 0 },
  });
});

test('what was recorded says what a policy would break', async () => {
  await untilPassing('/carts/7');
  await untilRecorded(isAt('/carts/{id}'));
  const policy = parsePolicy(authz('strict', { action: 'DENY', rules: [{ to: [{ paths: [{ prefix: '/carts' }] }] }] }));
  const set = [{ name: policy.name, document: encodePolicy(policy) }];
  const { harmless, changes } = await system.admin(Policies).simulate({ set });
  expect(harmless).toBe(false);
  const carts = changes.find(({ call }) => call !== undefined && isAt('/carts/{id}')(call));
  expect(carts).toMatchObject({ before: { verdict: 'allow' }, after: { verdict: 'deny', rule: { policy: { name: 'strict' } } } });
});

test('calls while the CA is away are reported when it is back, and a stop reports what is left', async () => {
  await untilPassing('/ready');
  await system.ca.kill('SIGTERM');
  expect(await passes('GET', '/while/away')).toBe(true);
  system.spawnCa();
  await system.ca.logged('"ca serves"');
  system.closeClients();
  await untilRecorded(isAt('/while/away'));
  expect(await passes('GET', '/at/the/end')).toBe(true);
  await system.agent?.kill('SIGTERM');
  expect((await recorded()).find(isAt('/at/the/end'))).toMatchObject({ count: 1n });
  await system.spawnAgent().logged('synchronised with the ca');
});

test('neither the decision log, nor the CA, has a token, a query or a header of any call', async () => {
  await untilPassing(`/orders/1?token=${CANARY}`);
  await passes('GET', `/orders%2f1?token=${CANARY}`);
  const log = await until(
    system,
    () => Promise.resolve(system.agent?.log ?? ''),
    (text) => text.includes('path_encoded_slash'),
  );
  const records = log.split('\n').filter((line) => line.includes('"call decided"'));
  expect(records.some((line) => line.includes('"path":"/orders%2f1"'))).toBe(true);
  expect(records.some((line) => line.includes('"path":"/orders/1"'))).toBe(true);
  const texts = (await recorded()).map((call) => toJsonString(CallSchema, call));
  expect(log + system.ca.log + texts.join('')).not.toContain(CANARY);
});
