// Policies as a platform team uses them: declared with kubectl, enforced by sidecars and by a service itself, warned of beforehand.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Finished } from '../support/command.ts';
import type { Cluster } from '../support/kubernetes/cluster.ts';
import { serviceAccount, serviceAccountIdentity, withWorkloadApi } from '../support/kubernetes/identities.ts';
import { Installation } from '../support/kubernetes/installation.ts';
import { ANSWERING, meshed, MESH_PORT, sidecar, watching, WITH_MIDDLEWARE } from '../support/kubernetes/mesh.ts';
import { deploymentObject, serviceObject, TestNamespace } from '../support/kubernetes/pods.ts';
import { envoyImage, lacking, noCluster, useCluster, workloadImage } from '../support/kubernetes/use-cluster.ts';

/** Services that are called, and by what each decides. */
const SERVICES = { orders: 9001, catalog: 9002, ledger: 9003 } as const;
const GROUP = 'countersign.dev/v1alpha1';

interface Note {
  readonly name: keyof typeof SERVICES;
  readonly status: number;
  readonly atMs: number;
}

describe.skipIf(noCluster !== undefined)(`authorization${lacking}`, () => {
  let cluster: Cluster;
  let shop: TestNamespace;

  beforeAll(async () => {
    cluster = await useCluster();
    await Installation.ready(cluster);
    const workload = await workloadImage();
    const envoy = await envoyImage();
    shop = await TestNamespace.fresh(cluster, 'authz', { 'countersign.test/group': 'authz' });
    await cluster.applyYaml(JSON.stringify(serviceAccountIdentity('test-authz', 'authz')));
    const id = (name: string): string => `spiffe://cluster.local/ns/${shop.name}/sa/${name}`;
    const upstreams = Object.entries(SERVICES).map(([name, localPort]) => {
      return { name, spiffeId: id(name), host: `${name}.${shop.name}.svc.cluster.local`, localPort };
    });
    const answering = { image: workload, command: ANSWERING };
    await shop.apply(
      ...Object.keys(SERVICES).flatMap((name) => [serviceAccount(name), serviceObject(name, MESH_PORT)]),
      serviceAccount('web'),
      ...meshed({ name: 'orders', ...answering }, envoy, sidecar('ext_authz')),
      ...meshed({ name: 'catalog', ...answering }, envoy, sidecar('rbac')),
      deploymentObject(
        withWorkloadApi({ name: 'ledger', image: workload, command: WITH_MIDDLEWARE, serviceAccount: 'ledger' }),
        1,
      ),
      ...meshed({ name: 'web', image: workload, command: watching(SERVICES) }, envoy, sidecar(undefined, upstreams)),
    );
    for (const name of [...Object.keys(SERVICES), 'web']) await shop.rolledOut(`deployment/${name}`);
  });
  afterAll(async () => {
    await cluster?.kubectl(['delete', 'clusterworkloadidentity', 'test-authz', '--ignore-not-found']);
    await shop?.[Symbol.asyncDispose]();
  });

  const notes = async (): Promise<readonly Note[]> => {
    const lines = (await shop.kubectl(['logs', 'deployment/web', '-c', 'main'])).trim().split('\n');
    // The cast is sound: the program prints one such object on a line.
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Note);
  };

  /** What each service answered last. */
  const statuses = async (): Promise<object> => Object.fromEntries((await notes()).map(({ name, status }) => [name, status]));

  const policy = (name: string, spec: object, annotations: Readonly<Record<string, string>> = {}): string =>
    JSON.stringify({ apiVersion: GROUP, kind: 'AuthorizationPolicy', metadata: { name, annotations }, spec });

  const apply = (text: string, ...options: readonly string[]): Promise<Finished> =>
    cluster.tryKubectl(['-n', shop.name, 'apply', ...options, '-f', '-'], text);

  const ALL = { orders: 200, catalog: 200, ledger: 200 };
  const NONE = { orders: 403, catalog: 403, ledger: 403 };

  it('allows everything while no policy is about a service, except where the proxy has none yet', async () => {
    await expect.poll(statuses).toEqual(ALL);
  });

  it('is enforced everywhere soon after kubectl says that a policy is there, and its status says so', async () => {
    const spec = { action: 'DENY', rules: [{ from: [{ serviceAccounts: ['web'] }] }] };
    expect(await apply(policy('nobody', spec))).toMatchObject({ code: 0 });
    const appliedAtMs = Date.now();
    await expect.poll(statuses).toEqual(NONE);
    const last = Math.max(...(await notes()).filter(({ status }) => status === 403).map(({ atMs }) => atMs));
    console.log(`from kubectl apply to a denial by every service: ${last - appliedAtMs} ms (goal: under 1 s)`);
    const status = (field: string): Promise<string> => shop.read('authorizationpolicy/nobody', `.status.${field}`);
    await expect.poll(() => status('nodesConcerned')).toBe('1');
    await expect.poll(() => status('nodesProgrammed')).toBe('1');
    await expect.poll(() => status('conditions[?(@.type=="Ready")].status')).toBe('True');
  });

  it('is no more once it is deleted', async () => {
    await shop.kubectl(['delete', 'authorizationpolicy', 'nobody']);
    await expect.poll(statuses).toEqual(ALL);
  });

  it('warns, before it is there, of a recorded call that it would cut off, and refuses where it is told to', async () => {
    const spec = { selector: { matchLabels: { app: 'orders' } }, rules: [{ from: [{ serviceAccounts: ['catalog'] }] }] };
    const tried = (): Promise<string> => apply(policy('closed', spec), '--dry-run=server').then(({ stderr }) => stderr);
    // Calls are reported every ten seconds.
    await expect.poll(tried).toMatch(/^Warning: .*\/sa\/web .*GET \/orders\/\{[^}]*\}/m);
    const refused = await apply(policy('closed', spec, { 'countersign.dev/refuse-if-denies': 'true' }));
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`/ns/${shop.name}/sa/web`);
    await expect(shop.kubectl(['get', 'authorizationpolicy', 'closed'])).rejects.toThrow('NotFound');
    expect(await statuses()).toEqual(ALL);
  });

  it('counts what a policy of mode DryRun would have denied, and denies nothing', async () => {
    const spec = { mode: 'DryRun', action: 'DENY', rules: [{ from: [{ serviceAccounts: ['web'] }] }] };
    expect(await apply(policy('rehearsal', spec))).toMatchObject({ code: 0 });
    const hits = async (): Promise<number> => Number(await shop.read('authorizationpolicy/rehearsal', '.status.wouldDenyHits'));
    await expect.poll(hits).toBeGreaterThan(0);
    expect(await statuses()).toEqual(ALL);
  });
});
