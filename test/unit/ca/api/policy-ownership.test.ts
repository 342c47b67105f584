// Which policy resources a controller that logged in may put and take away, over TLS.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Policies } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { ownerOfDocument } from '../../../../policy/document-owner.ts';
import { policyOnWire } from '../../../support/policies.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { TestCa } from '../../../support/test-ca.ts';

// Nobody is asked there: these callers have their SVIDs already.
const KUBECONFIG = `{ "apiVersion": "v1", "kind": "Config", "current-context": "c",
  "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:1" } }],
  "users": [{ "name": "u", "user": {} }], "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }] }`;

const resources = new AsyncDisposableStack();
let ca: RunningCa;
let east: Client<typeof Policies>;
let west: Client<typeof Policies>;
let admin: Client<typeof Policies>;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'owners-'));
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  const kubeconfig = join(folder, 'config');
  await writeFile(kubeconfig, KUBECONFIG);
  const login = (role: string, more = '') =>
    `{ serviceAccounts: { "sys:${role}": { role: ${role}${more} } }, kubeconfig: ${kubeconfig} }`;
  ca = resources.use(
    await RunningCa.start({
      yaml: `adminLogin: { clusters: { east: ${login('controller')}, b: ${login('controller', ', entryIdPrefix: west')}, c: ${login('admin')} } }`,
    }),
  );
  const signer = TestCa.create({ nowMs: Date.now() });
  await ca.local(Bundle).appendBundle({ x509Authorities: [{ asn1: signer.root.der }] });
  const of = (cluster: string, name: string) =>
    ca.remote(signer.issueX509Svid(`/spire/admin/${cluster}/sys/${name}`)).client(Policies);
  [east, west, admin] = [of('east', 'controller'), of('b', 'controller'), of('c', 'admin')];
});
afterAll(() => resources.disposeAsync());

/** A resource as the controller of this name puts it; as nobody's without one. */
function resource(key: string, owner?: string, generation = 1) {
  const made = policyOnWire(key, { generation });
  if (owner === undefined) return made;
  // The cast is sound: that is the form of the document.
  const document = JSON.parse(made.document) as { resource: { metadata: { labels: Record<string, string> } } };
  document.resource.metadata.labels['countersign.dev/controller'] = owner;
  return { ...made, document: JSON.stringify(document) };
}

async function owners(): Promise<Readonly<Record<string, string | undefined>>> {
  const found: Record<string, string | undefined> = {};
  for await (const part of ca.local(Policies).listResources({})) {
    for (const { name, document } of part.resources) found[`${name?.namespace}/${name?.name}`] = ownerOfDocument(document);
  }
  return found;
}

const KEY = 'AuthorizationPolicy/shop/one';
const names = [resource(KEY).name];

test('a controller puts what says that it is its own, and nothing else', async () => {
  const document = resource('AuthorizationPolicy/own/one', 'east');
  await east.setResources({ resources: [document] });
  for (const other of ['west', 'eastern', 'east.', undefined]) {
    const refused = await failureOf(east.setResources({ resources: [document, resource('AuthorizationPolicy/own/two', other)] }));
    expect(refused).toMatchObject({ code: 'permission_denied', message: expect.stringContaining('AuthorizationPolicy own/two') });
    expect(refused.message).toContain('countersign.dev/controller: east');
  }
  expect(await owners()).toEqual({ 'own/one': 'east' });
  await east.deleteResources({ names: [document.name] });
  expect(await owners()).toEqual({});
});

test('what is another’s, or nobody’s, a controller neither replaces nor takes away', async () => {
  for (const [holder, whose] of [
    ['east', '"east"'],
    [undefined, 'no controller'],
  ] as const) {
    await admin.setResources({ resources: [resource(KEY, holder)] });
    const other = resource('AuthorizationPolicy/shop/other', 'west');
    const replaced = await failureOf(west.setResources({ resources: [other, resource(KEY, 'west', 2)] }));
    expect(replaced).toMatchObject({ code: 'failed_precondition', message: expect.stringContaining(whose) });
    expect(replaced.message).toContain('AuthorizationPolicy shop/one');
    expect(await failureOf(west.deleteResources({ names: [other.name, ...names] }))).toMatchObject({
      code: 'failed_precondition',
    });
    expect(await owners()).toEqual({ 'shop/one': holder });
    await admin.deleteResources({ names });
  }
  await west.setResources({ resources: [resource(KEY, 'west')] });
  await west.setResources({ resources: [resource(KEY, 'west', 2)] });
  expect(await owners()).toEqual({ 'shop/one': 'west' });
});

test('admins and the private socket may touch everybody’s', async () => {
  for (const client of [admin, ca.local(Policies)]) {
    await client.setResources({ resources: [resource(KEY, 'west', 3)] });
    await client.setResources({ resources: [resource(KEY, undefined, 4)] });
    await client.setResources({ resources: [resource(KEY, 'east', 5)] });
    await client.deleteResources({ names });
    expect(await owners()).toEqual({});
  }
});
