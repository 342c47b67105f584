// The manifests as `kubectl apply -k` takes them: built, applied to a real API server with Pod Security, their configuration read by
// the processes themselves.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { webhookConfiguration } from '../../controller/admission/webhook-configuration.ts';
import { countersign, runToEnd } from '../support/command.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { isInstalled } from '../support/toolchain.ts';

const ROOT = join(import.meta.dirname, '../..');
const OVERLAYS = ['one-node', 'high-availability', 'air-gapped'];

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly resources?: { readonly requests?: object };
  readonly securityContext?: Readonly<Record<string, unknown>>;
}
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}
interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
}

async function build(overlay: string): Promise<readonly Manifest[]> {
  const { code, stdout, stderr } = await runToEnd('kubectl', ['kustomize', join(ROOT, 'manifests/overlays', overlay)]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  // The cast is sound: these are our own manifests.
  return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
}

function podSpecs(manifests: readonly Manifest[]): readonly PodSpec[] {
  return manifests.flatMap(({ spec }) => (spec?.template === undefined ? [] : [spec.template.spec]));
}

function containers(manifests: readonly Manifest[]): readonly Container[] {
  return podSpecs(manifests).flatMap((spec) => [...spec.containers, ...(spec.initContainers ?? [])]);
}

const kubectlMissing = !isInstalled('kubectl');

describe.skipIf(kubectlMissing)('the manifests (need kubectl)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'manifests-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(OVERLAYS)('%s: every container asks for what it needs, and none runs as it likes', async (overlay) => {
    const all = containers(await build(overlay));
    expect(all.map(({ name }) => name)).toEqual(expect.arrayContaining(['ca', 'controller', 'agent', 'csi']));
    const lasting = all.filter(({ name }) => name !== 'prepare-ca-folder');
    const requests = { cpu: expect.any(String), memory: expect.any(String) };
    expect(lasting.map(({ resources }) => resources?.requests)).toEqual(lasting.map(() => expect.objectContaining(requests)));
    const strict = { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
    const wanted = all.map(({ name }) => (name === 'csi' ? { readOnlyRootFilesystem: true, privileged: true } : strict));
    expect(all.map(({ securityContext }) => securityContext)).toEqual(wanted.map((each) => expect.objectContaining(each)));
  });

  test('the air-gapped overlay names its image by digest everywhere', async () => {
    const images = new Set(containers(await build('air-gapped')).map(({ image }) => image));
    expect([...images]).toEqual([expect.stringMatching(/^registry\.internal\/countersign@sha256:[0-9a-f]{64}$/)]);
  });

  test('the overlay for high availability differs in the store only', () => {
    const base = readFileSync(join(ROOT, 'manifests/base/ca/ca.yaml'), 'utf8').split('\n');
    const overlay = readFileSync(join(ROOT, 'manifests/overlays/high-availability/ca.yaml'), 'utf8').split('\n');
    expect(overlay.filter((line) => !base.includes(line))).toEqual([expect.stringContaining('store: { kind: postgres')]);
    expect(base.filter((line) => !overlay.includes(line))).toEqual(['store: { kind: sqlite }']);
  });

  test('the webhook configuration is the one that the controller serves', () => {
    const written: unknown = parse(readFileSync(join(ROOT, 'manifests/base/controller/webhook.yaml'), 'utf8'));
    const service = { namespace: 'countersign-system', name: 'countersign-controller' };
    expect(written).toEqual(webhookConfiguration({ name: 'countersign', service }));
  });

  test.each([
    ['base/ca/ca.yaml', ['ca', 'run']],
    ['overlays/high-availability/ca.yaml', ['ca', 'run']],
    ['base/controller/controller.yaml', ['controller', 'run']],
    ['base/agent/agent.yaml', ['agent', 'run']],
    ['base/agent/csi.yaml', ['csi', 'run']],
  ])('%s is a configuration that its process takes', async (file, command) => {
    // The one file that must be there before the process starts is the secret with the database's URL.
    const url = join(folder, 'url');
    writeFileSync(url, 'postgres://ca@db.example.test/ca\n');
    const copy = join(folder, 'copy.yaml');
    const text = readFileSync(join(ROOT, 'manifests', file), 'utf8');
    writeFileSync(copy, text.replace('/var/run/secrets/countersign/url', url));
    const args = [...command, '--config', copy, '--check-config'];
    const { code, stdout, stderr } = await countersign(args, { environment: { NODE_NAME: 'node-1' } });
    expect({ code, output: code === 0 ? '' : stdout + stderr }).toEqual({ code: 0, output: '' });
  });

  test("commands that are run in the CA's container find its socket", async () => {
    const [ca] = containers(await build('one-node')).filter(({ name }) => name === 'ca');
    const { listen } = parse(readFileSync(join(ROOT, 'manifests/base/ca/ca.yaml'), 'utf8'));
    expect(ca?.env).toContainEqual({ name: 'COUNTERSIGN_ADMIN_SOCKET', value: listen.admin.replace('unix:', '') });
  });

  test('a configuration with an unknown key is refused by name', async () => {
    const file = join(folder, 'controller.yaml');
    writeFileSync(file, `${readFileSync(join(ROOT, 'manifests/base/controller/controller.yaml'), 'utf8')}nonsense: true\n`);
    const { code, stderr } = await countersign(['controller', 'run', '--config', file, '--check-config']);
    expect(code).not.toBe(0);
    expect(stderr).toContain('nonsense');
  });
});

const missing = kubernetesMissing() ?? (kubectlMissing ? 'kubectl' : undefined);

describe.skipIf(missing !== undefined)('the manifests in a real API server', () => {
  let server: TestApiServer;
  beforeAll(async () => {
    server = await TestApiServer.start();
  }, 600_000);
  afterAll(() => server[Symbol.asyncDispose]());

  const apply = (overlay: string) =>
    runToEnd('kubectl', ['apply', '-k', join(ROOT, 'manifests/overlays', overlay)], {
      environment: { KUBECONFIG: server.kubeconfigFile },
    });

  const WORKLOADS = ['statefulset', 'deployment', 'daemonset'];
  const generations = () =>
    server.kubectl([
      'get',
      WORKLOADS.join(),
      '-A',
      '-o',
      'jsonpath={range .items[*]}{.metadata.name}:{.metadata.generation} {end}',
    ]);

  test.each(OVERLAYS)('%s applies at once, with no warning, and a second time without rolling anything', async (overlay) => {
    await server.kubectl(['delete', WORKLOADS.join(), '--all', '-A']);
    // Pod Security warns here of a pod template that its namespace would not admit.
    expect(await apply(overlay)).toMatchObject({ code: 0, stderr: '' });
    const before = await generations();
    expect(before).toContain('countersign-ca:1');
    expect(await apply(overlay)).toMatchObject({ code: 0, stderr: '' });
    expect(await generations()).toEqual(before);
  });

  test('Pod Security restricted would admit the CA and the controller, and says what the agents need more', async () => {
    await server.kubectl(['create', 'namespace', 'strict']);
    await server.kubectl(['label', 'namespace', 'strict', 'pod-security.kubernetes.io/warn=restricted']);
    const warnings = async (kind: string): Promise<string> => {
      const manifests = (await build('one-node')).filter((manifest) => manifest.kind === kind);
      const moved = manifests.map((manifest) => ({ ...manifest, metadata: { ...manifest.metadata, namespace: 'strict' } }));
      const { code, stderr } = await runToEnd('kubectl', ['create', '--dry-run=server', '-f', '-'], {
        environment: { KUBECONFIG: server.kubeconfigFile },
        input: moved.map((manifest) => JSON.stringify(manifest)).join('\n---\n'),
      });
      expect({ code, stderr }).toMatchObject({ code: 0 });
      return stderr;
    };
    expect(await warnings('StatefulSet')).toBe('');
    expect(await warnings('Deployment')).toBe('');
    const agents = await warnings('DaemonSet');
    expect(agents).toContain('host namespaces (hostPID=true)');
    expect(agents).toContain('privileged (container "csi"');
    expect(agents).toContain('restricted volume types');
  });
});
