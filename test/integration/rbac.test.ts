// Least privilege: the CA, the controller and an agent work as their service accounts, with the roles of the manifests and nothing
// else, on an API server that records every request. A verb that is missing shows as a refusal, one too many is never used.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CaProcess } from '../support/ca-process.ts';
import { COMMAND, runToEnd } from '../support/command.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNamespace, createNode, createPod, createToken } from '../support/kubernetes/stand-in-node.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';
import { isInstalled } from '../support/toolchain.ts';

const OVERLAY = join(import.meta.dirname, '../../manifests/overlays/one-node');
const SYSTEM = 'countersign-system';
const AGENTS = 'countersign-agents';
const ACCOUNTS = [`${SYSTEM}:countersign-ca`, `${SYSTEM}:countersign-controller`, `${AGENTS}:countersign-agent`];
const missing = kubernetesMissing() ?? (isInstalled('kubectl') ? undefined : 'kubectl');

const SIGNER = 'countersign.dev/svid';
const CERTIFICATE_VOLUME = {
  name: 'svid',
  projected: {
    sources: [{ podCertificate: { signerName: SIGNER, keyType: 'ECDSAP256', credentialBundlePath: 'credentials.pem' } }],
  },
};

/** What the API server asks for while it handles another request: to publish under a signer's name, and to apply what is new. */
const ASKED_WITHIN = [
  'countersign-controller: attest signers.',
  'countersign-controller: sign signers.',
  'countersign-ca: create configmaps',
];

interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly apiGroup?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules?: readonly Rule[];
  readonly roleRef?: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly { readonly name: string }[];
}

describe.skipIf(missing !== undefined)(`roles of the manifests (need ${missing ?? 'nothing that is not here'})`, () => {
  const resources = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'rbac-'));
  const children: ChildProcess[] = [];
  const logs: string[] = [];
  let server: TestApiServer;
  let ca: CaProcess;

  beforeAll(async () => {
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    server = resources.use(await TestApiServer.start({ audit: true }));
    await server.kubectl(['apply', '-k', OVERLAY]);
    await createNode(server, 'node-1');
    ca = resources.use(
      await CaProcess.start({
        trustDomain: 'cluster.local',
        yaml: `
attestors: { k8sPsat: { clusters: { main: { serviceAccounts: ["${ACCOUNTS[2]}"], kubeconfig: ${await as('ca')} } } } }
adminLogin: { clusters: { main: { kubeconfig: ${await as('ca')}, serviceAccounts: { "${ACCOUNTS[1]}": { role: controller } } } } }
kubernetes: { bundleConfigMap: { namespace: ${SYSTEM}, name: countersign-bundle, kubeconfig: ${await as('ca')} } }`,
      }),
    );
    await run('controller', await controllerYaml());
    await run('agent', await agentYaml());
  }, 900_000);
  afterAll(async () => {
    for (const child of children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    }
    await resources[Symbol.asyncDispose]();
  });

  const namespaceOf = (part: string): string => (part === 'agent' ? AGENTS : SYSTEM);

  /** A kubeconfig of the part's service account. */
  async function as(part: 'ca' | 'controller' | 'agent'): Promise<string> {
    const token = await createToken(server, {
      namespace: namespaceOf(part),
      serviceAccount: `countersign-${part}`,
      ttlSeconds: 3600,
    });
    return server.tokenKubeconfig(token);
  }

  /** A file with the token of a pod of the part, as its projected volume has it. */
  async function podToken(part: 'controller' | 'agent', audience: string): Promise<string> {
    const [namespace, serviceAccount] = [namespaceOf(part), `countersign-${part}`];
    const pod = await createPod(server, {
      namespace,
      name: part,
      node: 'node-1',
      serviceAccount,
      spec: strictSpec(serviceAccount),
    });
    const bound = { name: part, uid: pod.metadata.uid ?? '' };
    const file = join(folder, `${part}.token`);
    writeFileSync(file, await createToken(server, { namespace, serviceAccount, audience, pod: bound, ttlSeconds: 3600 }));
    return file;
  }

  /** What Pod Security restricted asks of a pod. */
  function strictSpec(serviceAccountName: string): Record<string, unknown> {
    const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
    return {
      serviceAccountName,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{ name: 'main', image: 'example.test/app:1', securityContext }],
    };
  }

  async function controllerYaml(): Promise<string> {
    const kubeconfig = await as('controller');
    return `
trustDomain: cluster.local
clusterName: main
ca:
  address: "127.0.0.1:${ca.grpcPort}"
  tokenFile: ${await podToken('controller', 'countersign-admin')}
  bootstrap: { configMap: ${SYSTEM}/countersign-bundle, kubeconfig: ${kubeconfig} }
kubernetes: { kubeconfig: ${kubeconfig} }
bundles:
  configMap: { name: countersign-bundle, namespaceSelector: { matchLabels: { countersign.dev/bundle: "true" } } }
  clusterTrustBundle: true
podCertificates: { signerName: countersign.dev/svid }
admission: { service: ${SYSTEM}/countersign-controller, webhookConfiguration: countersign }
leaderElection: { namespace: ${SYSTEM}, name: countersign-leader }
listen: { webhook: "127.0.0.1:0", http: "127.0.0.1:0" }
`;
  }

  async function agentYaml(): Promise<string> {
    const kubeconfig = await as('agent');
    return `
trustDomain: cluster.local
dataDir: ./agent-data
server: "127.0.0.1:${ca.grpcPort}"
bootstrap: { configMap: ${SYSTEM}/countersign-bundle, key: late.crt, kubeconfig: ${kubeconfig} }
attestor: { k8sPsat: { cluster: main, tokenFile: ${await podToken('agent', 'spire-server')} } }
workloadAttestors: { k8s: { source: apiServer, nodeName: node-1, kubeconfig: ${kubeconfig} } }
listen: { workload: "unix:./public/api.sock", admin: "unix:./private/admin.sock" }
`;
  }

  async function run(part: 'controller' | 'agent', yaml: string): Promise<void> {
    const file = join(folder, `${part}.yaml`);
    writeFileSync(file, yaml);
    const child = spawn(process.execPath, [COMMAND, part, 'run', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => logs.push(`${part}: ${chunk.toString()}`));
    children.push(child);
  }

  function events(): readonly AuditEvent[] {
    const lines = readFileSync(server.auditFile, 'utf8')
      .split('\n')
      .filter((line) => line.endsWith('}'));
    // The cast is sound: the API server writes audit.k8s.io/v1.
    const all = lines.map((line) => JSON.parse(line) as AuditEvent);
    return all.filter(({ user }) => ACCOUNTS.includes(user.username.replace('system:serviceaccount:', '')));
  }

  const described = ({ verb, user, objectRef }: AuditEvent): string => {
    const { apiGroup = '', resource = '', subresource } = objectRef ?? {};
    const path = subresource === undefined ? resource : `${resource}/${subresource}`;
    return `${user.username.split(':').at(-1)}: ${verb} ${path}${apiGroup === '' ? '' : `.${apiGroup}`}`;
  };
  const used = (): ReadonlySet<string> => new Set(events().map(described));

  /** Everything that the roles of the manifests give, as the audit log would name its use. */
  async function granted(): Promise<readonly string[]> {
    const { stdout } = await runToEnd('kubectl', ['kustomize', OVERLAY]);
    // The cast is sound: these are our own manifests.
    const manifests = parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
    return manifests.flatMap(({ roleRef, subjects = [] }) => {
      const role = manifests.find(({ kind, metadata }) => kind === roleRef?.kind && metadata.name === roleRef?.name);
      return subjects.flatMap(({ name }) => (role?.rules ?? []).flatMap((rule) => uses(name, rule)));
    });
  }

  function uses(account: string, { apiGroups, resources: names, verbs }: Rule): readonly string[] {
    return apiGroups.flatMap((group) =>
      names.flatMap((name) => verbs.map((verb) => `${account}: ${verb} ${name}${group === '' ? '' : `.${group}`}`)),
    );
  }

  /** SPIRE's own kinds, as far as a watch needs them: the roles are for clusters that have them. */
  async function defineSpireKinds(): Promise<void> {
    const anything = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    for (const kind of ['ClusterSPIFFEID', 'ClusterStaticEntry', 'ClusterFederatedTrustDomain']) {
      const singular = kind.toLowerCase();
      const plural = singular.endsWith('y') ? `${singular.slice(0, -1)}ies` : `${singular}s`;
      const version = { name: 'v1alpha1', served: true, storage: true, subresources: { status: {} } };
      await server.api.expect('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
        metadata: { name: `${plural}.spire.spiffe.io` },
        spec: {
          group: 'spire.spiffe.io',
          scope: 'Cluster',
          names: { kind, singular, plural, listKind: `${kind}List` },
          versions: [{ ...version, schema: { openAPIV3Schema: anything } }],
        },
      });
    }
  }

  const object = (group: string, kind: string, name: string, spec: unknown, namespace?: string): string => {
    const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
    return JSON.stringify({ apiVersion: `${group}/v1alpha1`, kind, metadata, spec });
  };

  /** A day in the life of a cluster, so that each part does once whatever it ever does. */
  async function live(): Promise<void> {
    await defineSpireKinds();
    // In a new cluster agents start before the CA has published its bundle.
    await expect.poll(() => used().has('countersign-agent: watch configmaps'), { timeout: 60_000 }).toBe(true);
    const late = JSON.stringify({ data: { 'late.crt': await bundleOf(SYSTEM) } });
    await server.kubectl(['-n', SYSTEM, 'patch', 'configmap', 'countersign-bundle', '-p', late]);
    // The webhooks cannot be reached from this API server, which has no node between it and them.
    await expect
      .poll(() => used().has('countersign-controller: patch validatingwebhookconfigurations.admissionregistration.k8s.io'), {
        timeout: 60_000,
      })
      .toBe(true);
    await server.kubectl(['delete', 'validatingwebhookconfiguration', 'countersign']);
    await createNamespace(server, 'shop', { 'countersign.dev/bundle': 'true' });
    const pod = await createPod(server, {
      namespace: 'shop',
      name: 'web',
      node: 'node-1',
      labels: { app: 'web' },
      spec: { volumes: [CERTIFICATE_VOLUME] },
    });
    await createPod(server, { namespace: 'shop', name: 'nowhere', labels: { app: 'nowhere' } });
    const id = (path: string): string => `spiffe://{{ .TrustDomain }}/${path}`;
    const entry = { parentID: 'spiffe://cluster.local/p', selectors: ['unix:uid:1'] };
    const federated = { bundleEndpointURL: 'https://127.0.0.1:1/', bundleEndpointProfile: { type: 'https_web' } };
    const own = [
      object('countersign.dev', 'ClusterWorkloadIdentity', 'web', {
        spiffeIDTemplate: id('{{ .PodMeta.Name }}'),
        podSelector: { matchLabels: { app: 'web' } },
      }),
      // This one cannot be rendered, so the pod gets an event.
      object('countersign.dev', 'ClusterWorkloadIdentity', 'bad', {
        spiffeIDTemplate: id('{{ .PodMeta.Labels.none }}'),
        podSelector: { matchLabels: { app: 'web' } },
      }),
      object(
        'countersign.dev',
        'WorkloadIdentity',
        'web',
        { pathTemplate: 'web', podSelector: { matchLabels: { app: 'web' } } },
        'shop',
      ),
      object('countersign.dev', 'StaticIdentity', 'one', { spiffeID: 'spiffe://cluster.local/one', ...entry }),
      object('countersign.dev', 'FederatedTrustDomain', 'other', { trustDomain: 'other.example', ...federated }),
      object('countersign.dev', 'AuthorizationPolicy', 'web', { rules: [{}] }, 'shop'),
      object('countersign.dev', 'ClusterAuthorizationPolicy', 'web', { rules: [{}] }),
      object(
        'countersign.dev',
        'RequestAuthentication',
        'people',
        { issuers: [{ issuer: 'https://login.example', audiences: ['web'] }] },
        'shop',
      ),
      object('spire.spiffe.io', 'ClusterSPIFFEID', 'web', { spiffeIDTemplate: id('spire/{{ .PodMeta.Name }}') }),
      object('spire.spiffe.io', 'ClusterStaticEntry', 'two', { spiffeID: 'spiffe://cluster.local/two', ...entry }),
      object('spire.spiffe.io', 'ClusterFederatedTrustDomain', 'third', { trustDomain: 'third.example', ...federated }),
    ];
    for (const text of own) await server.applyYaml(text);
    await repeatProblem();
    await askForCertificate(pod.metadata.uid ?? '');
    await expect.poll(() => used().has('countersign-controller: create configmaps'), { timeout: 60_000 }).toBe(true);
    // Somebody edits the bundle, which is put right; then the namespace gives it up.
    await expect.poll(() => bundleOf('shop'), { timeout: 60_000 }).toContain('BEGIN CERTIFICATE');
    for (const namespace of ['shop', SYSTEM]) {
      await server.kubectl([
        '-n',
        namespace,
        'patch',
        'configmap',
        'countersign-bundle',
        '-p',
        '{"data":{"bundle.crt":"forged"}}',
      ]);
      await expect.poll(() => bundleOf(namespace), { timeout: 60_000 }).toContain('BEGIN CERTIFICATE');
    }
    await server.kubectl(['label', 'namespace', 'shop', 'countersign.dev/bundle-']);
    await server.kubectl([
      'patch',
      'clustertrustbundle',
      'countersign.dev:svid:cluster.local',
      '--type=merge',
      '-p',
      forgedTrustBundle(),
    ]);
  }

  /** One fault, another, and the first again: its Event is counted and not written anew. */
  async function repeatProblem(): Promise<void> {
    const told = async (): Promise<number> =>
      (await server.kubectl(['-n', 'shop', 'get', 'events', '--field-selector=involvedObject.name=web', '-o', 'name'])).split(
        '\n',
      ).length;
    const set = (name: string): Promise<string> => {
      const patch = JSON.stringify({ spec: { spiffeIDTemplate: `spiffe://{{ .TrustDomain }}/spire/${name}` } });
      return server.kubectl(['patch', 'clusterworkloadidentity', 'bad', '--type=merge', '-p', patch]);
    };
    await expect.poll(told, { timeout: 60_000 }).toBe(3);
    for (const [name, events] of [
      ['one', 4],
      ['two', 5],
      ['one', 5],
    ] as const) {
      await set(name);
      await expect.poll(told, { timeout: 60_000 }).toBe(events);
    }
  }

  const bundleOf = (namespace: string): Promise<string> =>
    server.kubectl(['-n', namespace, 'get', 'configmap', 'countersign-bundle', '-o', 'jsonpath={.data.bundle\\.crt}']);

  function forgedTrustBundle(): string {
    return JSON.stringify({ metadata: { labels: { forged: 'true' } }, spec: { trustBundle: server.caPem } });
  }

  async function askForCertificate(podUID: string): Promise<void> {
    await server.api.expect('POST', '/api/v1/namespaces/shop/serviceaccounts', { metadata: { name: 'default' } });
    const [account, node] = await Promise.all([
      server.api.expect('GET', '/api/v1/namespaces/shop/serviceaccounts/default'),
      server.api.expect('GET', '/api/v1/nodes/node-1'),
    ]);
    const spec = {
      signerName: SIGNER,
      podName: 'web',
      podUID,
      serviceAccountName: 'default',
      serviceAccountUID: account.metadata.uid,
      nodeName: 'node-1',
      nodeUID: node.metadata.uid,
      maxExpirationSeconds: 3600,
      stubPKCS10Request: Buffer.from(createTestCsr({ key: createTestKey(), uris: [], attributes: [] })).toString('base64'),
    };
    // Nobody but the node's own kubelet may ask.
    const kubelet = await server.userKubeconfig('system:node:node-1', ['system:nodes']);
    const metadata = { generateName: 'web-', namespace: 'shop' };
    const request = { apiVersion: 'certificates.k8s.io/v1', kind: 'PodCertificateRequest', metadata, spec };
    const environment = { KUBECONFIG: kubelet };
    const asked = await runToEnd('kubectl', ['create', '-f', '-'], { environment, input: JSON.stringify(request) });
    expect(asked).toMatchObject({ code: 0, stderr: '' });
  }

  test('change or read in full only what is named, wherever Kubernetes can name it', async () => {
    const { stdout } = await runToEnd('kubectl', ['kustomize', OVERLAY]);
    // The cast is sound: these are our own manifests.
    const roles = parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
    const rules = roles.flatMap((role) => role.rules ?? []);
    const changes = ['update', 'patch', 'delete', 'deletecollection', '*', 'bind', 'escalate', 'impersonate'];
    const secret = ['configmaps', 'secrets', '*'];
    const open = rules
      .filter(({ resourceNames }) => resourceNames === undefined)
      .flatMap(({ apiGroups, resources: names, verbs }) =>
        names.flatMap((name) => verbs.map((verb) => ({ verb, name, grant: `${verb} ${name}.${apiGroups.join()}` }))),
      );
    const broad = open.filter(({ verb, name }) => changes.includes(verb) || (secret.includes(name) && verb !== 'create'));
    // Statuses of what the controller judges, whose names are the users', and Events, which have none before they are made.
    expect(broad.map(({ grant }) => grant).filter((grant) => !/^patch (\w+\/status|events)\./.test(grant))).toEqual([]);
  });

  test('are all that is needed, and nothing more', async () => {
    await live();
    const refused = events().filter(({ responseStatus }) => responseStatus?.code === 403);
    expect([...new Set(refused.map(described))]).toEqual([]);
    const grants = await granted();
    expect(grants.length).toBeGreaterThan(40);
    const needed = grants.filter((grant) => !ASKED_WITHIN.some((within) => grant.startsWith(within)));
    await expect.poll(() => needed.filter((grant) => !used().has(grant)), { timeout: 90_000 }).toEqual([]);
  }, 600_000);
});
