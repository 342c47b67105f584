// The controller with a folder of files instead of an API server.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { planText } from '../../controller/plan.ts';
import { policyKey, type Policy } from '../../policy/policy.ts';
import { decodePolicy } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { ControllerRig, entriesAt, pathsAt } from '../support/controller-rig.ts';
import { countersign } from '../support/command.ts';
import { RunningCa } from '../support/running-ca.ts';

const POD = `
apiVersion: v1
kind: Node
metadata: { name: n1, uid: node-1 }
---
apiVersion: v1
kind: Pod
metadata: { name: web-0, namespace: shop, uid: pod-1, labels: { app: web } }
spec: { nodeName: n1, serviceAccountName: web }
`;
const IDENTITY = `
apiVersion: countersign.dev/v1alpha1
kind: ClusterWorkloadIdentity
metadata: { name: web }
spec: { spiffeIDTemplate: "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}" }
`;

let ca: RunningCa;
let folder: string;

beforeEach(async () => {
  ca = await RunningCa.start();
  folder = mkdtempSync(join(tmpdir(), 'resources-'));
});

afterEach(async () => {
  await ca[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

test('files come, change and go', async () => {
  write('pod.yaml', POD);
  write('identity.yaml', IDENTITY);
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/sa/web']);
  await expect.poll(() => rig.lines).toContain('ClusterWorkloadIdentity web: ready (InForce): 1 entry in force');
  write('identity.yaml', IDENTITY.replace('/sa/', '/account/'));
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/account/web']);
  rmSync(join(folder, 'identity.yaml'));
  await expect.poll(() => pathsAt(ca.socket)).toEqual([]);
});

test('a file that is broken leaves what it held before in force, and is complained of', async () => {
  write('pod.yaml', POD);
  write('identity.yaml', IDENTITY);
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/sa/web']);
  const before = await entriesAt(ca.socket);
  write('identity.yaml', 'apiVersion: [');
  await expect.poll(() => rig.lines).toContainEqual(expect.stringMatching(/^identity.yaml: no valid YAML.*stays in force$/s));
  write('identity.yaml', IDENTITY.replace('{{ .TrustDomain }}', '{{ .Nothing'));
  await expect
    .poll(() => rig.lines)
    .toContainEqual(
      expect.stringMatching(/^ClusterWorkloadIdentity web: not ready \(Invalid\): spec.spiffeIDTemplate: .*stays in force$/),
    );
  write('identity.yaml', IDENTITY.replace('spec:', 'spec: { nonsense: 1 }\n#'));
  await expect.poll(() => rig.lines).toContainEqual(expect.stringContaining('spec.nonsense: unknown key'));
  write('more.yaml', 'apiVersion: v1\nkind: Secret\nmetadata: { name: x }');
  await expect.poll(() => rig.lines).toContainEqual(expect.stringContaining('more.yaml: Secret of v1 is not used here'));
  expect(await entriesAt(ca.socket)).toEqual(before);
});

const BATCH = IDENTITY.replace('name: web', 'name: batch').replace('/ns/', '/batch/');

test.each([
  ['empty', '', 'holds no resource any more'],
  ['nothing but comments', '# to be filled\n---\n', 'holds no resource any more'],
  ['of another kind', 'apiVersion: v1\nkind: Secret\nmetadata: { name: x }\n', 'holds no resource any more'],
  ['misspelt', IDENTITY.replace('ClusterWorkloadIdentity', 'ClusterWorkloadIdentiy'), 'ClusterWorkloadIdentiy of countersign'],
  ['of another version', `${IDENTITY.replace('v1alpha1', 'v2')}---${BATCH}`, 'ClusterWorkloadIdentity of countersign.dev/v2'],
  ['without a kind', IDENTITY.replace(/kind: .*/, ''), 'document 1 is no Kubernetes object'],
])('a file that becomes %s withdraws nothing', async (_how, text, complaint) => {
  write('pod.yaml', POD);
  write('identity.yaml', IDENTITY);
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/sa/web']);
  const before = await entriesAt(ca.socket);
  write('identity.yaml', text);
  await expect.poll(() => rig.lines).toContainEqual(expect.stringContaining(`identity.yaml: ${complaint}`));
  expect(rig.lines.join('\n')).toContain('what it held before stays in force');
  // What comes after it shows that it has been taken in as it was.
  write('more.yaml', BATCH);
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/batch/shop/sa/web', '/ns/shop/sa/web']);
  expect(await entriesAt(ca.socket)).toEqual(expect.arrayContaining([...before]));
});

test('what is gone from a file is withdrawn after a moment, and not if it comes back meanwhile', async () => {
  write('pod.yaml', POD);
  write('identity.yaml', `${IDENTITY}---${BATCH}`);
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/batch/shop/sa/web', '/ns/shop/sa/web']);
  const before = await entriesAt(ca.socket);
  // Half written, with something else in it that shows that it has been read.
  write('identity.yaml', IDENTITY);
  write('more.yaml', 'apiVersion: v1\nkind: Secret\nmetadata: { name: x }');
  await expect.poll(() => rig.lines).toContainEqual(expect.stringContaining('more.yaml: Secret'));
  write('identity.yaml', `${IDENTITY}---${BATCH}`);
  write('more.yaml', 'apiVersion: v1\nkind: Secrets\nmetadata: { name: x }');
  await expect.poll(() => rig.lines).toContainEqual(expect.stringContaining('more.yaml: Secrets'));
  expect(await entriesAt(ca.socket)).toEqual(before);
  write('identity.yaml', IDENTITY);
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/sa/web']);
  write('identity.yaml', 'apiVersion: v1\nkind: List\nitems: []\n');
  await expect.poll(() => pathsAt(ca.socket)).toEqual([]);
});

test('a declaration that moves to another file stays', async () => {
  write('pod.yaml', POD);
  write('identity.yaml', IDENTITY);
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/sa/web']);
  const [before] = await entriesAt(ca.socket);
  write('moved.yaml', IDENTITY.replace('/sa/', '/account/'));
  write('identity.yaml', '');
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/account/web']);
  expect((await entriesAt(ca.socket))[0]?.id).not.toBe(before?.id);
  expect(rig.lines.join('\n')).not.toContain('holds no resource');
});

test('Services, and a pod that is not allowed what is declared for it', async () => {
  write('pod.yaml', POD);
  write(
    'services.yaml',
    `
apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Service, metadata: { name: web, namespace: shop } }
  - apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: { name: web-1, namespace: shop, labels: { kubernetes.io/service-name: web } }
    addressType: IPv4
    endpoints: [{ addresses: [10.0.0.1], targetRef: { kind: Pod, name: web-0, namespace: shop, uid: pod-1 } }]
`,
  );
  write(
    'identity.yaml',
    `
apiVersion: countersign.dev/v1alpha1
kind: WorkloadIdentity
metadata: { name: web, namespace: shop }
spec: { pathTemplate: web, autoPopulateDNSNames: true }
---
${IDENTITY.replace('spiffe://{{ .TrustDomain }}', 'spiffe://other.test').replace('name: web', 'name: outside')}`,
  );
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/web']);
  expect((await entriesAt(ca.socket))[0]?.dnsNames).toEqual(['web', 'web.shop', 'web.shop.svc', 'web.shop.svc.cluster.local']);
  await expect
    .poll(() => rig.lines)
    .toContainEqual(expect.stringMatching(/^Pod shop\/web-0: RenderFailed: .*outside the trust domain example.org/));
});

test('a plan says what a run would do, by its exit code as well, and does nothing', async () => {
  write('pod.yaml', POD);
  write('identity.yaml', IDENTITY);
  const client = ca.local(Entry);
  const id = (path: string) => ({ trustDomain: 'example.org', path });
  await client.batchCreateEntry({
    entries: [{ id: 'main.old', parentId: id('/p'), spiffeId: id('/old'), selectors: [{ type: 'unix', value: 'uid:0' }] }],
  });
  const before = await entriesAt(ca.socket);
  const config = join(folder, 'controller.yaml');
  writeFileSync(config, `trustDomain: example.org\nca: { socket: "unix:${ca.socket}" }\n`);
  const resources = mkdtempSync(join(tmpdir(), 'planned-'));
  writeFileSync(join(resources, 'all.yaml'), `${POD}---${IDENTITY}`);
  const words = ['controller', 'run', '--config', config, '--resources', resources];
  const text = await countersign([...words, '--plan']);
  expect(text.code).toBe(2);
  expect(text.stdout).toContain('+ spiffe://example.org/ns/shop/sa/web');
  expect(text.stdout).toContain('- spiffe://example.org/old');
  expect(text.stdout).toContain('1 to create, 0 to change, 1 to delete');
  const json = await countersign([...words, '--plan', '--output', 'json']);
  expect(JSON.parse(json.stdout)).toMatchObject({
    hasChanges: true,
    create: [{ spiffeId: 'spiffe://example.org/ns/shop/sa/web', declaredBy: 'ClusterWorkloadIdentity web', pod: 'shop/web-0' }],
    delete: [{ id: 'main.old' }],
  });
  expect(await entriesAt(ca.socket)).toEqual(before);
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: resources });
  await expect.poll(() => rig.isReady()).toBe(true);
  await expect.poll(() => pathsAt(ca.socket)).toEqual(['/ns/shop/sa/web']);
  expect((await countersign([...words, '--plan'])).code).toBe(0);
  rmSync(resources, { recursive: true, force: true });
});

const POLICY = `
apiVersion: countersign.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: orders, namespace: shop }
spec: { rules: [{ from: [{ serviceAccounts: [web] }] }] }
`;
const CORE = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { tier: core } }
---
apiVersion: countersign.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: { name: core }
spec: { action: DENY, namespaceSelector: { matchLabels: { tier: core } }, rules: [{ to: [{ methods: [TRACE] }] }] }
`;

async function policiesAtCa(): Promise<Readonly<Record<string, Policy>>> {
  const found: [string, Policy][] = [];
  for await (const { resources } of ca.local(Policies).listResources({})) {
    for (const { document } of resources) {
      const policy = decodePolicy(document);
      found.push([policyKey(policy.name), policy]);
    }
  }
  return Object.fromEntries(found);
}

test('policies of files are at the CA, with what their namespaces are', async () => {
  write('policy.yaml', POLICY);
  write('core.yaml', CORE);
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(policiesAtCa).toMatchObject({
    'AuthorizationPolicy/shop/orders': { action: 'ALLOW' },
    'ClusterAuthorizationPolicy//core': { action: 'DENY', namespaces: ['shop'] },
  });
  const line = 'AuthorizationPolicy shop/orders: ready (NoNodes): no node has a workload that it concerns';
  await expect.poll(() => rig.lines, { timeout: 5_000 }).toContain(line);
  write('policy.yaml', POLICY.replace('[web]', '[cart]'));
  const accounts = async (): Promise<unknown> => (await policiesAtCa())['AuthorizationPolicy/shop/orders']?.rules[0]?.from;
  await expect.poll(accounts).toMatchObject([{ serviceAccounts: ['cart'] }]);
  write('policy.yaml', POLICY.replace('rules', 'rulez'));
  await expect
    .poll(() => rig.lines, { timeout: 5_000 })
    .toContainEqual(
      expect.stringMatching(/^AuthorizationPolicy shop\/orders: not ready \(Invalid\): spec.rulez: unknown key.*stays in force$/),
    );
  expect(await accounts()).toMatchObject([{ serviceAccounts: ['cart'] }]);
  rmSync(join(folder, 'policy.yaml'));
  await expect
    .poll(async () => Object.keys(await policiesAtCa()), { timeout: 10_000 })
    .toEqual(['ClusterAuthorizationPolicy//core']);
});

test('a plan says which policies it would set and delete', async () => {
  write('policy.yaml', POLICY);
  write('old.yaml', POLICY.replace('name: orders', 'name: old'));
  const options = { socket: ca.socket, resourcesDir: folder };
  {
    await using rig = await ControllerRig.start(options);
    await expect.poll(async () => Object.keys(await policiesAtCa())).toHaveLength(2);
    await expect.poll(() => rig.isReady()).toBe(true);
  }
  rmSync(join(folder, 'old.yaml'));
  write('core.yaml', CORE);
  const plan = await ControllerRig.plan(options);
  expect(plan.policies).toEqual({
    refused: [],
    set: ['ClusterAuthorizationPolicy core'],
    delete: ['AuthorizationPolicy shop/old'],
    foreign: [],
  });
  expect(planText(plan)).toContain('policies: 1 to set, 1 to delete');
  expect(Object.keys(await policiesAtCa())).toHaveLength(2);
});

test('what runs without Kubernetes is said to be of a namespace, for policies', async () => {
  write(
    'database.yaml',
    `
apiVersion: countersign.dev/v1alpha1
kind: StaticIdentity
metadata: { name: database }
spec:
  spiffeID: spiffe://example.org/database
  parentID: spiffe://example.org/host
  selectors: ["unix:uid:70"]
  workload: { namespace: billing, serviceAccount: database }
`,
  );
  await using rig = await ControllerRig.start({ socket: ca.socket, resourcesDir: folder });
  await expect.poll(() => rig.lines).toContainEqual(expect.stringContaining('StaticIdentity database: ready'));
  const [entry] = await entriesAt(ca.socket);
  expect(entry?.countersignWorkload).toMatchObject({ namespace: 'billing', serviceAccount: 'database' });
  const before = entry?.revisionNumber;
  write(
    'database.yaml',
    (await readFile(join(folder, 'database.yaml'), 'utf8')).replace(
      '  workload: { namespace: billing, serviceAccount: database }\n',
      '',
    ),
  );
  await expect.poll(async () => (await entriesAt(ca.socket))[0]?.revisionNumber).not.toBe(before);
  expect((await entriesAt(ca.socket))[0]?.countersignWorkload).toBeUndefined();
});
