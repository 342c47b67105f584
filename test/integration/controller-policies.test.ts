// Policies from kubectl into force and back: a real API server, CA, agent and controller, with its webhooks.
import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { webhookConfiguration } from '../../controller/admission/webhook-configuration.ts';
import { systemClock } from '../../core/clock.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Authorization, CheckRequestSchema } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { runToEnd } from '../support/command.ts';
import { ControllerRig } from '../support/controller-rig.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNamespace } from '../support/kubernetes/stand-in-node.ts';
import { RunningCa } from '../support/running-ca.ts';
import { startTestAgent, type RunningTestAgent } from '../support/running-agent.ts';

const SERVICE = { namespace: 'countersign-system', name: 'countersign-controller' };
const RESOURCES = '/apis/countersign.dev/v1alpha1';
const WEBHOOKS = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
const WEB = 'spiffe://example.org/web';

interface Policy {
  readonly kind?: 'AuthorizationPolicy' | 'ClusterAuthorizationPolicy' | 'RequestAuthentication';
  readonly name: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec: object;
}

function text({ kind = 'AuthorizationPolicy', name, annotations = {}, spec }: Policy): string {
  const place = kind === 'ClusterAuthorizationPolicy' ? {} : { namespace: 'shop' };
  return JSON.stringify({ apiVersion: 'countersign.dev/v1alpha1', kind, metadata: { name, ...place, annotations }, spec });
}

const allowing = (methods: readonly string[]): object => ({
  rules: [{ from: [{ serviceAccounts: ['web'] }], to: [{ methods }] }],
});

describe.skipIf(kubernetesMissing() !== undefined)('policies on an API server (need go, or KUBEBUILDER_ASSETS)', () => {
  const resources = new AsyncDisposableStack();
  let server: TestApiServer;
  let ca: RunningCa;
  let agent: RunningTestAgent;

  beforeAll(async () => {
    server = resources.use(await TestApiServer.start({ crds: ['crds'] }));
    ca = resources.use(await RunningCa.start());
    agent = resources.use(await startTestAgent(ca, { authorization: { calls: { interval: '1s' } } }));
    await declare('/orders', 'orders', `uid:${process.getuid?.() ?? 0}`);
    await declare('/web', 'web', 'uid:4294967');
    for (const name of [SERVICE.namespace, 'shop']) await createNamespace(server, name, { team: name });
    const rig = resources.use(
      await ControllerRig.start({
        socket: ca.socket,
        kubeconfigFile: server.kubeconfigFile,
        yaml: `
admission: { service: ${SERVICE.namespace}/${SERVICE.name}, webhookConfiguration: countersign }
listen: { http: "127.0.0.1:0", webhook: "127.0.0.1:0" }`,
      }),
    );
    await configureWebhooks((await rig.controller.webhookPort) ?? 0);
  });
  afterAll(() => resources[Symbol.asyncDispose]());

  /** Registers a workload of the agent that says what it is in Kubernetes. */
  async function declare(path: string, serviceAccount: string, selector: string): Promise<void> {
    const own = (at: string) => ({ trustDomain: 'example.org', path: at });
    const entry = { spiffeId: own(path), parentId: own(agent.idPath), selectors: [{ type: 'unix', value: selector }] };
    await ca
      .local(Entry)
      .batchCreateEntry({ entries: [{ ...entry, countersignWorkload: { namespace: 'shop', serviceAccount } }] });
  }

  async function configureWebhooks(webhookPort: number): Promise<void> {
    // Without a node the API server cannot reach a ClusterIP: a Service by name leads it to this process.
    const spec = { type: 'ExternalName', externalName: 'localhost' };
    const service = { metadata: { name: SERVICE.name }, spec };
    await server.api.expect('POST', `/api/v1/namespaces/${SERVICE.namespace}/services`, service);
    const configuration = JSON.stringify(webhookConfiguration({ name: 'countersign', service: SERVICE }));
    const reachable: unknown = JSON.parse(configuration, (key, value: unknown) => (key === 'port' ? webhookPort : value));
    await server.api.expect('POST', WEBHOOKS, reachable);
  }

  /** What kubectl says, with warnings, whether it worked or not. */
  async function kubectl(words: readonly string[], input = ''): Promise<string> {
    const { stdout, stderr } = await runToEnd('kubectl', ['--kubeconfig', server.kubeconfigFile, ...words], { input });
    return stderr + stdout;
  }

  const apply = (policy: Policy): Promise<string> => kubectl(['apply', '-f', '-'], text(policy));

  /** Asks the agent as the proxy of `/orders` does. */
  async function ask(method: string, path: string): Promise<boolean> {
    const http = { method, path, host: 'orders.shop' };
    const request = create(CheckRequestSchema, { attributes: { source: { principal: WEB }, request: { http } } });
    using connection = connectGrpc({ target: { kind: 'unix', path: agent.socket }, clock: systemClock });
    return (await connection.client(Authorization).check(request)).status?.code === 0;
  }

  async function status(path: string): Promise<Record<string, unknown>> {
    const object = await server.api.expect('GET', `${RESOURCES}/${path}`);
    // The cast is sound: the schema of the kind says so.
    return (object['status'] ?? {}) as Record<string, unknown>;
  }

  async function condition(path: string, type: string): Promise<string> {
    // The cast is sound: the schema of the kind says so.
    const conditions = ((await status(path))['conditions'] ?? []) as { type: string; status: string; reason: string }[];
    const found = conditions.find((each) => each.type === type);
    return `${found?.status} ${found?.reason}`;
  }

  async function keysAtCa(): Promise<readonly string[]> {
    const keys: string[] = [];
    for await (const { resources: part } of ca.local(Policies).listResources({})) {
      keys.push(...part.map(({ name }) => `${name?.kind}/${name?.namespace}/${name?.name}`));
    }
    return keys.sort();
  }

  const ORDERS = 'namespaces/shop/authorizationpolicies/orders';

  test('the webhooks are asked', async () => {
    const spec = { issuers: [{ issuer: 'https://login.test', audiences: ['orders'] }] };
    const probe: Policy = { kind: 'RequestAuthentication', name: 'probe', spec };
    await expect.poll(() => apply(probe), { timeout: 30_000 }).toContain('created');
  });

  test('a policy that is applied is enforced, and its status says on how many nodes', async () => {
    await expect.poll(() => ask('GET', '/ready'), { timeout: 20_000 }).toBe(true);
    expect(await apply({ name: 'orders', spec: allowing(['GET']) })).toContain('created');
    await expect.poll(() => ask('DELETE', '/orders/1'), { timeout: 5_000 }).toBe(false);
    expect(await ask('GET', '/orders/1')).toBe(true);
    await expect.poll(() => condition(ORDERS, 'Programmed'), { timeout: 5_000 }).toBe('True Programmed');
    expect(await condition(ORDERS, 'Ready')).toBe('True Programmed');
    expect(await status(ORDERS)).toMatchObject({ observedGeneration: 1, nodesConcerned: 1, nodesProgrammed: 1, shadowedBy: [] });
    expect(await server.kubectl(['-n', 'shop', 'get', 'authz', 'orders'])).toContain('orders');
  });

  test('a change of the policy is another generation, enforced and programmed again', async () => {
    await apply({ name: 'orders', spec: allowing(['GET', 'DELETE']) });
    await expect.poll(() => ask('DELETE', '/orders/1'), { timeout: 5_000 }).toBe(true);
    await expect.poll(async () => (await status(ORDERS))['observedGeneration'], { timeout: 5_000 }).toBe(2);
    await expect.poll(() => condition(ORDERS, 'Programmed'), { timeout: 5_000 }).toBe('True Programmed');
  });

  test('a policy that would cut off a recorded call is stored with a warning that names it', async () => {
    for (let count = 0; count < 3; count += 1) expect(await ask('DELETE', '/orders/7')).toBe(true);
    const strict = { name: 'strict', spec: { action: 'DENY', rules: [{ to: [{ methods: ['DELETE'] }] }] } };
    const said = (): Promise<string> => kubectl(['apply', '--dry-run=server', '-f', '-'], text(strict));
    await expect
      .poll(said, { timeout: 20_000 })
      .toContain('/web → spiffe://example.org/orders DELETE /orders/{id} would be denied');
    expect(await apply(strict)).toMatch(/Warning: .*rule 0 of AuthorizationPolicy shop\/strict.*\n.*created/s);
    await expect.poll(() => ask('DELETE', '/orders/7'), { timeout: 5_000 }).toBe(false);
    await server.kubectl(['-n', 'shop', 'delete', 'authz', 'strict']);
    await expect.poll(() => ask('DELETE', '/orders/7'), { timeout: 5_000 }).toBe(true);
  });

  test('an annotated one is refused, and so is its deletion where that cuts off', async () => {
    const annotations = { 'countersign.dev/refuse-if-denies': 'true' };
    const said = await apply({
      name: 'careful',
      annotations,
      spec: { action: 'DENY', rules: [{ to: [{ methods: ['DELETE'] }] }] },
    });
    expect(said).toContain('The AuthorizationPolicy "careful" is invalid');
    expect(said).toContain('DELETE /orders/{id} would be denied');
    expect(await keysAtCa()).toEqual(['AuthorizationPolicy/shop/orders', 'RequestAuthentication/shop/probe']);
    // Without this one the other alone decides, which allows GET only.
    expect(await apply({ name: 'more', annotations, spec: allowing(['DELETE']) })).toContain('created');
    await apply({ name: 'orders', spec: allowing(['GET']) });
    await expect.poll(keysAtCa).toContain('AuthorizationPolicy/shop/more');
    expect(await kubectl(['-n', 'shop', 'delete', 'authz', 'more'])).toContain('would be denied');
    await server.kubectl(['-n', 'shop', 'annotate', 'authz', 'more', 'countersign.dev/refuse-if-denies-']);
    expect(await kubectl(['-n', 'shop', 'delete', 'authz', 'more'])).toContain('deleted');
    await expect.poll(() => ask('DELETE', '/orders/7'), { timeout: 5_000 }).toBe(false);
  });

  test('what goes with its namespace is not asked about', async () => {
    const annotations = { 'countersign.dev/refuse-if-denies': 'true' };
    await apply({ name: 'orders', annotations, spec: allowing(['GET', 'HEAD']) });
    await apply({ name: 'nothing', spec: {} });
    const words = ['-n', 'shop', 'delete', 'authz', 'orders'];
    expect(await kubectl(words)).toContain('would be denied');
    const as = '--as=system:serviceaccount:kube-system:namespace-controller';
    expect(await kubectl([...words, as])).toContain('deleted');
    await server.kubectl(['-n', 'shop', 'delete', 'authz', 'nothing']);
  });

  test('what cannot be right is refused before it is stored', async () => {
    expect(await apply({ name: 'bad', spec: { rules: [{ when: 'request.path' }] } })).toContain('spec.rules[0].when');
    expect(await apply({ name: 'bad', spec: { rules: [{ to: [{ paths: [{ regex: '(' }] }] }] } })).toContain(
      'spec.rules[0].to[0]',
    );
    expect(await server.kubectl(['-n', 'shop', 'get', 'authz', 'bad', '--ignore-not-found'])).toBe('');
  });

  test('a selector of namespaces follows their labels', async () => {
    const baseline = {
      action: 'DENY',
      namespaceSelector: { matchLabels: { tier: 'core' } },
      rules: [{ to: [{ methods: ['PUT'] }] }],
    };
    await apply({ kind: 'ClusterAuthorizationPolicy', name: 'core', spec: baseline });
    await apply({ name: 'orders', spec: allowing(['GET', 'PUT']) });
    await expect.poll(() => ask('PUT', '/orders/1'), { timeout: 5_000 }).toBe(true);
    await server.kubectl(['label', 'namespace', 'shop', 'tier=core']);
    await expect.poll(() => ask('PUT', '/orders/1'), { timeout: 5_000 }).toBe(false);
    await expect
      .poll(() => condition('clusterauthorizationpolicies/core', 'Programmed'), { timeout: 5_000 })
      .toBe('True Programmed');
    await server.kubectl(['delete', 'cauthz', 'core']);
    await expect.poll(() => ask('PUT', '/orders/1'), { timeout: 5_000 }).toBe(true);
  });

  test('a RequestAuthentication has a status as well', async () => {
    await expect.poll(() => condition('namespaces/shop/requestauthentications/probe', 'Ready')).toBe('True Programmed');
  });
});
