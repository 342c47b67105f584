// `countersign policy` against a running CA: what agents reported, and policies that are declared without Kubernetes.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { account, CallsRig, wireCall } from '../support/calls-rig.ts';
import { CaProcess } from '../support/ca-process.ts';
import { countersign, type Finished } from '../support/command.ts';

const POLICY = `
apiVersion: countersign.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: orders-callers, namespace: shop }
spec:
  targetRefs: [{ kind: ServiceAccount, name: orders }]
  rules:
    - from: [{ serviceAccounts: [web] }]
`;
const TOKENS = `
apiVersion: countersign.dev/v1alpha1
kind: RequestAuthentication
metadata: { name: customers, namespace: shop }
spec: { issuers: [{ issuer: "https://issuer.example", audiences: [orders] }] }
`;

let ca: CaProcess;
let rig: CallsRig<CaProcess>;
beforeAll(async () => {
  ca = await CaProcess.start({ yaml: 'authorization: { default: allow }' });
  rig = await CallsRig.on(ca);
  writeFileSync(join(ca.folder, 'new.yaml'), POLICY);
  await rig.report(
    wireCall({ count: 1200n }),
    wireCall({
      sourceSpiffeId: account('billing', 'batch'),
      request: { method: 'GET', host: 'orders', pathTemplate: '/export' },
    }),
  );
  writeFileSync(join(ca.folder, 'tokens.yaml'), TOKENS);
  writeFileSync(join(ca.folder, 'calls.jsonl'), await output('policy calls --since 1h --namespace shop'));
}, 60_000);
afterAll(() => rig[Symbol.asyncDispose]());

function run(line: string): Promise<Finished> {
  return countersign(line.split(' '), { cwd: ca.folder, environment: { COUNTERSIGN_ADMIN_SOCKET: ca.socket } });
}

async function output(line: string, code = 0): Promise<string> {
  const finished = await run(line);
  expect({ line, ...finished }).toMatchObject({ line, code, stderr: '' });
  return finished.stdout;
}

const BATCH = 'spiffe://example.org/ns/billing/sa/batch -> shop/orders:8443 GET orders/export';

test('simulate names the recorded calls that a policy would cut off', async () => {
  const text = await output('policy simulate -f new.yaml --against recorded', 1);
  expect(text).toMatch(/^would be denied: 1\n/);
  expect(text).toContain(`  ${BATCH} (3 times, last 20`);
  expect(text).toContain('\n    allow -> deny: no_rule_matches\n');
  // The cast is sound: --output json prints this object.
  const json = JSON.parse(await output('policy simulate -f new.yaml --output json', 1)) as { denied: object[] };
  expect(json.denied).toMatchObject([{ call: BATCH, count: 3, after: { verdict: 'deny' } }]);
  expect(await run('policy simulate -f new.yaml --default deny')).toMatchObject({ code: 1, stdout: '' });
});

test('simulate takes back what the CA has, and its default holds where nothing is left', async () => {
  await output('policy set -f new.yaml');
  expect(await output('policy simulate --delete AuthorizationPolicy/shop/orders-callers')).toContain('would be allowed: 1\n');
  const missing = await run('policy simulate --delete AuthorizationPolicy/shop/orders');
  expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('there is no AuthorizationPolicy/shop/orders') });
  await output('policy delete -f new.yaml');
});

test('the default of the CA decides unless another is said', async () => {
  const line = `policy explain --from ${account('shop', 'web')} --to ${account('shop', 'orders')} --path /orders/7`;
  expect(await output(line)).toMatch(/^allow default_allow\n/);
  expect(await output(`${line} --default deny`)).toMatch(/^deny default_deny\n/);
});

test('recorded calls are exported, and what is simulated with them is the same', async () => {
  const lines = readFileSync(join(ca.folder, 'calls.jsonl'), 'utf8');
  expect(lines.split('\n')).toHaveLength(3);
  expect(JSON.parse(lines.split('\n')[0] ?? '')).toMatchObject({
    path: '/orders/{id}',
    count: 1200,
    source: { namespace: 'shop' },
  });
  const online = await output('policy simulate -f new.yaml', 1);
  expect(await output('policy simulate -f new.yaml --against calls.jsonl', 1)).toBe(online);
  expect(await output('policy simulate -f new.yaml --policies new.yaml --against recorded')).toContain('no recorded call');
  expect(await output('policy calls --namespace none')).toBe('');
});

test('suggest writes policies that cut nothing off, set puts them in force', async () => {
  const suggested = await output('policy suggest --from recorded');
  writeFileSync(join(ca.folder, 'suggested.yaml'), suggested);
  expect(await output('policy suggest --calls calls.jsonl')).toBe(suggested);
  expect(await output('policy simulate -f suggested.yaml')).toBe('no recorded call would be decided otherwise\n');
  expect(await output('policy set -f suggested.yaml')).toBe('AuthorizationPolicy/shop/orders-callers set\n');
  expect(await output('policy lint --against recorded')).toBe('');
  const explained = await output(
    `policy explain --from ${account('shop', 'web')} --to ${account('shop', 'orders')} --path /orders/7 --host orders --port 8443`,
  );
  expect(explained).toMatch(/^allow allowed_by_rule \(rule \d of shop\/orders-callers\)\n/);
  const refused = await output(
    `policy explain --from ${account('shop', 'web')} --to ${account('shop', 'orders')} --path /export --host orders --port 8443`,
  );
  expect(refused).toMatch(/^deny no_rule_matches\n/);
  // What the CA has is the side before.
  expect(await output('policy simulate -f new.yaml', 1)).toContain(`${BATCH} (3 times`);
  await output('policy delete -f suggested.yaml');
});

test('list shows what there is, delete takes it back', async () => {
  const set = await output('policy set -f new.yaml -f tokens.yaml');
  expect(set).toBe('AuthorizationPolicy/shop/orders-callers set\nRequestAuthentication/shop/customers set\n');
  // The cast is sound: --output json prints a list.
  const rows = JSON.parse(await output('policy list --output json')) as object[];
  expect(rows).toMatchObject([
    {
      kind: 'AuthorizationPolicy',
      namespace: 'shop',
      name: 'orders-callers',
      action: 'ALLOW',
      mode: 'Enforce',
      nodesProgrammed: 0,
      nodesConcerned: expect.any(Number),
      hits: 0,
      wouldDeny: 0,
    },
    { kind: 'RequestAuthentication', namespace: 'shop', name: 'customers' },
  ]);
  const [head, first] = (await output('policy list')).split('\n');
  expect(head).toMatch(/^KIND +NAMESPACE +NAME +ACTION +MODE +NODES +HITS +WOULDDENY/);
  expect(first).toMatch(/^AuthorizationPolicy +shop +orders-callers +ALLOW +Enforce +\d+\/\d+ +0 +0$/);
  expect(await output('policy delete AuthorizationPolicy/shop/orders-callers -f tokens.yaml')).toBe(
    'AuthorizationPolicy/shop/orders-callers deleted\nRequestAuthentication/shop/customers deleted\n',
  );
  expect(await output('policy list')).toBe('');
  expect(await run('policy delete orders')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('must be written AuthorizationPolicy/NAMESPACE/NAME'),
  });
  expect(await run('policy delete')).toMatchObject({ code: 1, stderr: expect.stringContaining('name at least one') });
});

test('a policy that cannot be read is refused before anything is changed', async () => {
  writeFileSync(join(ca.folder, 'bad.yaml'), readFileSync(join(ca.folder, 'new.yaml'), 'utf8').replace('rules:', 'rulez:'));
  expect(await run('policy set -f bad.yaml')).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('rulez') });
  expect(await output('policy list')).toBe('');
});
