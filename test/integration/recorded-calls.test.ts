// What agents decide reaches the CA: real processes, asked as Envoy asks.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { Policies, type Call } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { CheckRequestSchema, Authorization } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { own, OWN_SELECTOR, WholeSystem } from '../support/whole-system.ts';
import { authz } from '../support/policy/policy-objects.ts';

const CANARY = 'canary-5ab0';
const AGENT = `
attestor: { joinTokenFile: ./token }
authorization:
  decisionLog: { sample: 1, hashKeyFile: ./hash.key }
  calls: { interval: 1s }
`;
let system: WholeSystem;

beforeAll(async () => {
  system = await WholeSystem.startCa({ agentYaml: AGENT }, (folder) => {
    mkdirSync(join(folder, 'agent'), { recursive: true });
    writeFileSync(join(folder, 'agent', 'hash.key'), `${'0123456789abcdef'.repeat(4)}\n`);
  });
  await system.startAgent();
  await declare('/orders', 'orders', OWN_SELECTOR);
  await declare('/web', 'web', { type: 'unix', value: 'uid:4294967' });
  await system.served('spiffe://example.org/orders');
});
afterAll(() => system[Symbol.asyncDispose]());

/** Registers a workload that says what it is in Kubernetes. */
async function declare(path: string, serviceAccount: string, selector: typeof OWN_SELECTOR): Promise<void> {
  const countersignWorkload = { namespace: 'shop', serviceAccount };
  const entry = { spiffeId: own(path), parentId: own(system.agentPath), selectors: [selector], countersignWorkload };
  const { results } = await system.admin(Entry).batchCreateEntry({ entries: [entry] });
  expect(results[0]?.status?.code).toBe(0);
}

/** Asks the agent as the Envoy of `/orders` does. @returns whether the call may pass */
async function ask(method: string, path: string, source = 'spiffe://example.org/web'): Promise<boolean> {
  const request = create(CheckRequestSchema, {
    attributes: {
      source: { principal: source },
      request: {
        http: { method, path, host: 'orders.shop', headers: { authorization: `Bearer ${CANARY}`, 'x-secret': CANARY } },
      },
    },
  });
  using connection = system.connect(system.workloadSocket);
  const { status } = await connection.client(Authorization).check(request);
  return status?.code === 0;
}

async function apply(spec: object, name = 'orders'): Promise<void> {
  const policy = parsePolicy(authz(name, spec));
  const resource = { name: policy.name, document: encodePolicy(policy) };
  await system.admin(Policies).setResources({ resources: [resource] });
}

async function recorded(): Promise<readonly Call[]> {
  const calls: Call[] = [];
  for await (const part of system.admin(Policies).listCalls({})) calls.push(...part.calls);
  return calls;
}

/** Waits until the CA has it. */
async function until<T>(read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  for (const startMs = performance.now(); ;) {
    const value = await read();
    if (holds(value)) return value;
    if (performance.now() - startMs > 30_000) throw new Error(`it did not come:\n${system.agent?.log ?? ''}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const brief = ({ sourceSpiffeId, sourceServiceAccount, destination, request, verdict, reason, rule, count, point }: Call) => [
  `${sourceSpiffeId.slice(20)} (${sourceServiceAccount}) → ${destination?.namespace ?? ''}/${destination?.serviceAccount ?? ''}`,
  `${request?.method ?? ''} ${request?.host ?? ''}${request?.pathTemplate ?? ''}`,
  `${verdict} ${reason}${rule === undefined ? '' : ` ${rule.policy?.name ?? ''}#${rule.rule}`}`,
  `${point} ${count}`,
];

test('calls of an agent are at the CA within seconds, counted by kind', async () => {
  // The agent has synchronised; that policy is there as well shows in what it answers.
  await until(
    () => ask('GET', '/ready'),
    (passes) => passes,
  );
  for (const id of [1, 2, 3]) expect(await ask('GET', `/orders/${id}?token=${CANARY}`)).toBe(true);
  const calls = await until(recorded, (all) => all.some(({ count }) => count === 3n));
  expect(calls.filter(({ count }) => count === 3n).map(brief)).toEqual([
    ['/web (web) → shop/orders', 'GET orders.shop/orders/{id}', 'allow default_audit', 'ext_authz 3'],
  ]);
});

test('a denial is recorded with its reason, and what a DryRun policy would deny with its rule', async () => {
  await apply({ rules: [{ to: [{ methods: ['GET'] }] }] });
  await apply({ action: 'DENY', mode: 'DryRun', rules: [{ to: [{ paths: [{ prefix: '/internal' }] }] }] }, 'no-internal');
  await until(
    () => ask('DELETE', '/orders/7'),
    (passes) => !passes,
  );
  const hasWouldDeny = (all: readonly Call[]): boolean => all.some(({ wouldDeny }) => wouldDeny);
  const calls = await until(async () => {
    expect(await ask('GET', '/internal/state')).toBe(true);
    return recorded();
  }, hasWouldDeny);
  const denied = await until(recorded, (all) => all.some(({ verdict }) => verdict === 'deny'));
  expect(denied.find(({ verdict }) => verdict === 'deny')).toMatchObject({
    reason: 'no_rule_matches',
    request: { method: 'DELETE', pathTemplate: '/orders/{id}' },
  });
  expect(calls.find(({ wouldDeny }) => wouldDeny)).toMatchObject({
    verdict: 'allow',
    rule: { policy: { name: 'orders' }, rule: 0 },
    dryRunRule: { policy: { name: 'no-internal' }, rule: 0 },
  });
});

test('what was recorded says what a policy would break', async () => {
  await until(
    () => ask('GET', '/carts/7'),
    (passes) => passes,
  );
  await until(recorded, (all) => all.some(({ request }) => request?.pathTemplate === '/carts/{id}'));
  const policy = parsePolicy(authz('strict', { action: 'DENY', rules: [{ to: [{ paths: [{ prefix: '/carts' }] }] }] }));
  const set = [{ name: policy.name, document: encodePolicy(policy) }];
  const { harmless, changes } = await system.admin(Policies).simulate({ set });
  expect(harmless).toBe(false);
  const carts = changes.find(({ call }) => call?.request?.pathTemplate === '/carts/{id}');
  expect(carts).toMatchObject({
    before: { verdict: 'allow' },
    after: { verdict: 'deny', rule: { policy: { name: 'strict' } } },
  });
});

test('a stop reports what is left, and calls while the CA is away are reported when it is back', async () => {
  await system.ca.kill('SIGTERM');
  expect(await ask('GET', '/while/away')).toBe(true);
  system.spawnCa();
  await system.ca.logged('"ca serves"');
  system.closeClients();
  await until(recorded, (all) => all.some(({ request }) => request?.pathTemplate === '/while/away'));
  expect(await ask('GET', '/at/the/end')).toBe(true);
  await system.agent?.kill('SIGTERM');
  const calls = await recorded();
  expect(calls.find(({ request }) => request?.pathTemplate === '/at/the/end')).toMatchObject({ count: 1n });
  await system.spawnAgent().logged('synchronised with the ca');
});

test('the decision log of the agent has the calls, and neither token nor query nor header of any', async () => {
  await until(
    () => ask('GET', `/orders/1?token=${CANARY}`),
    (passes) => passes,
  );
  await ask('GET', `/orders%2f1?token=${CANARY}`);
  await until(
    () => Promise.resolve(system.agent?.log ?? ''),
    (text) => text.includes('path_encoded_slash'),
  );
  const log = system.agent?.log ?? '';
  const records = (system.agent?.lines ?? []).filter((line) => line.includes('"call decided"'));
  expect(records.some((line) => line.includes('"path":"/orders%2f1"'))).toBe(true);
  expect(records.some((line) => line.includes('"path":"/orders/1"'))).toBe(true);
  expect(log + system.ca.log).not.toContain(CANARY);
});
