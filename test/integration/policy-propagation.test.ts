// A CA and an agent as processes: a policy that is set at the CA decides at the agent, at once and whatever becomes of the CA.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { Authorization } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { authz } from '../support/policy/policy-objects.ts';
import { own, OWN_SELECTOR, WholeSystem } from '../support/whole-system.ts';

const CALLER = 'spiffe://example.org/caller';
// An agent that polled would take five seconds at the median.
const PUSHED_WITHIN_MS = 1_000;

let system: WholeSystem;

beforeAll(async () => {
  system = await WholeSystem.startCa({ caYaml: 'authorization: { default: deny }' });
  await system.startAgent();
  const workload = { countersignWorkload: { namespace: 'shop', serviceAccount: 'web' } };
  await system.register({ spiffeId: own('/web'), ...workload });
  const caller = { spiffeId: own('/caller'), parentId: own('/spire/agent/join_token/elsewhere'), selectors: [OWN_SELECTOR] };
  await system.admin(Entry).batchCreateEntry({ entries: [{ ...caller, countersignWorkload: { namespace: 'front' } }] });
}, 60_000);

afterAll(() => system[Symbol.asyncDispose]());

async function set(spec: object): Promise<void> {
  const policy = parsePolicy(authz('web', spec));
  await system.admin(Policies).setResources({ resources: [{ name: policy.name, document: encodePolicy(policy) }] });
}

function asker(): () => Promise<string> {
  const client = system.connect(system.workloadSocket).client(Authorization);
  return async () => {
    const { dynamicMetadata: { verdict, reason } = {} } = await client.check({
      attributes: { source: { principal: CALLER }, request: { http: { method: 'GET', path: '/', host: 'web' } } },
    });
    return typeof verdict === 'string' && typeof reason === 'string' ? `${verdict} ${reason}` : 'no decision';
  };
}

async function until(ask: () => Promise<string>, answer: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (let seen = await ask(); seen !== answer; seen = await ask()) {
    if (performance.now() > deadline) throw new Error(`still "${seen}", not "${answer}":\n${system.agent?.log}`);
  }
}

test('a change is pushed into force', async () => {
  const ask = asker();
  await until(ask, 'deny default_deny');
  const rules = [{ from: [{ namespaces: ['front'] }] }];
  const durations: number[] = [];
  for (let round = 0; round < 10; round++) {
    for (const [action, answer] of [
      ['ALLOW', 'allow allowed_by_rule'],
      ['DENY', 'deny denied_by_rule'],
    ] as const) {
      const startedMs = performance.now();
      await set({ action, rules });
      await until(ask, answer);
      durations.push(performance.now() - startedMs);
    }
  }
  const median = durations.toSorted((one, other) => one - other)[10] ?? Number.POSITIVE_INFINITY;
  expect(median).toBeLessThan(PUSHED_WITHIN_MS);
}, 60_000);

test('while the CA is away what there is decides; one that comes back is followed', async () => {
  const ask = asker();
  await set({ rules: [{ from: [{ spiffeIDs: [CALLER] }] }] });
  await until(ask, 'allow allowed_by_rule');
  await system.ca.kill();
  expect(await ask()).toBe('allow allowed_by_rule');
  system.spawnCa();
  await system.ca.logged('"ca serves"');
  await set({ rules: [{ from: [{ spiffeIDs: ['spiffe://example.org/other'] }] }] });
  await until(ask, 'deny no_rule_matches');
  await system.admin(Policies).deleteResources({ names: [{ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web' }] });
  await until(ask, 'deny default_deny');
}, 60_000);
