// A real kube-apiserver with its etcd, for one test file: no node, no controller manager, so objects stay as they are written.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { runToEnd } from '../command.ts';
import { freePort } from '../free-port.ts';
import { apiServerArguments, etcdArguments } from './api-server-arguments.ts';
import { KUBERNETES, kubernetesBinaries } from './binaries.ts';
import { Component } from './component.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import type { KubeconfigUser } from './kubeconfig.ts';
import { createKeyPairPem, TestPki } from './pki.ts';
import { RestClient } from './rest.ts';

/** What a {@link TestApiServer} may be told. */
export interface ApiServerOptions {
  /** A version of {@link KUBERNETES}; the newest unless given. */
  readonly version?: string;
  /** Beside, or instead of, those that serve pod certificates and trust bundles. */
  readonly featureGates?: Readonly<Record<string, boolean>>;
  /** As the API server's own option has it, such as `certificates.k8s.io/v1beta1=true`; `''` for none. */
  readonly runtimeConfig?: string;
  /** Files or folders with CustomResourceDefinitions, applied and established before `start` returns. */
  readonly crds?: readonly string[];
  /** Writes who asked for what into {@link TestApiServer.auditFile}, one JSON object on a line. */
  readonly audit?: boolean;
  /** More options of `kube-apiserver`. */
  readonly arguments?: readonly string[];
}

/**
 * A running API server: real authentication, RBAC, admission, TokenRequest, TokenReview and webhooks.
 *
 * @example
 * await using server = await TestApiServer.start({ crds: ['crds'] });
 * await server.applyYaml('apiVersion: v1\nkind: Namespace\nmetadata: { name: payments }');
 */
export class TestApiServer implements AsyncDisposable {
  readonly version: string;
  readonly url: string;
  /** What signed the server's certificate. */
  readonly caPem: string;
  /** Of a member of `system:masters`. */
  readonly kubeconfigFile: string;
  /** Where `audit` writes to. */
  readonly auditFile: string;
  /** The API as `system:masters`. */
  readonly api: RestClient;
  readonly #folder: string;
  readonly #pki: TestPki;
  readonly #etcd: Component;
  readonly #etcdUrl: string;
  readonly #command: readonly string[];
  #server: Component | undefined;
  #files = 0;

  private constructor(parts: Parts) {
    this.version = parts.version;
    this.url = parts.url;
    this.caPem = parts.pki.authority.certificate;
    this.#folder = parts.folder;
    this.auditFile = join(parts.folder, 'audit.jsonl');
    this.#pki = parts.pki;
    this.#etcd = parts.etcd;
    this.#etcdUrl = parts.etcdUrl;
    this.#command = parts.command;
    this.kubeconfigFile = this.#kubeconfig(parts.admin);
    this.api = new RestClient({ url: this.url, caPem: this.caPem, credentials: parts.admin });
  }

  /** Ready to serve when it returns, in 3 to 5 seconds. */
  static async start(options: ApiServerOptions = {}): Promise<TestApiServer> {
    const server = new TestApiServer(await prepare(options));
    try {
      await server.restart();
      for (const path of options.crds ?? []) await server.applyCrds(path);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  /** Starts the API server, ending it first when it runs. Address, credentials and every object stay. */
  async restart(): Promise<void> {
    await this.stop();
    this.#server = new Component('kube-apiserver', this.#command, join(this.#folder, 'kube-apiserver.log'));
    await this.#server.becomes('ready', async () => (await this.api.send('GET', '/readyz')).status === 200);
  }

  /** Ends the API server as a crash would; {@link restart} brings it back. */
  async stop(): Promise<void> {
    await this.#server?.kill();
    this.#server = undefined;
  }

  /**
   * Makes every resource version of before unusable: a watch that resumes from one gets 410. The API server is restarted,
   * because it answers from memory what etcd has forgotten.
   */
  async compact(): Promise<void> {
    // A watch may have been told of the newest version: it must not be the one that survives.
    for (let written = 0; written < 3; written += 1) {
      const { metadata } = await this.api.expect('POST', '/api/v1/namespaces/default/configmaps', {
        metadata: { generateName: 'compaction-' },
      });
      await this.api.expect('DELETE', `/api/v1/namespaces/default/configmaps/${metadata.name}`);
    }
    await this.stop();
    const { header } = await this.#etcdCall<{ header: { revision: string } }>('range', { key: 'AA==' });
    await this.#etcdCall('compaction', { revision: header.revision, physical: true });
    await this.restart();
  }

  /** Puts values under keys of etcd, many at once: for a test that needs more objects than the API server takes in good time. */
  async writeToEtcd(values: ReadonlyMap<string, string>): Promise<void> {
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    const puts = [...values].map(([key, value]) => ({ requestPut: { key: base64(key), value: base64(value) } }));
    // As many as etcd takes in one transaction.
    for (let at = 0; at < puts.length; at += 128) await this.#etcdCall('txn', { success: puts.slice(at, at + 128) });
  }

  /** A kubeconfig file for a user with these groups, who may do what RBAC gives them. @returns its path */
  async userKubeconfig(name: string, groups: readonly string[] = []): Promise<string> {
    return this.#kubeconfig(await this.#pki.issue({ name, groups }));
  }

  /** A kubeconfig file with a bearer token, such as a service account's. @returns its path */
  tokenKubeconfig(token: string): string {
    return this.#kubeconfig({ token });
  }

  /** Runs `kubectl` as `system:masters`. @returns its standard output. @throws Error with what it complained of */
  async kubectl(args: readonly string[], input = ''): Promise<string> {
    const { code, stdout, stderr } = await runToEnd('kubectl', ['--kubeconfig', this.kubeconfigFile, ...args], { input });
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Applies YAML text, any number of documents. */
  async applyYaml(yaml: string): Promise<void> {
    await this.kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], yaml);
  }

  /** Applies a file or a folder. @returns the names of its objects, such as `service/web` */
  async applyFile(path: string): Promise<string[]> {
    const where = existsSync(join(path, 'kustomization.yaml')) ? '-k' : '-f';
    const names = await this.kubectl(['apply', '--server-side', '--force-conflicts', '-o', 'name', where, path]);
    return names.trim().split('\n');
  }

  /** Applies CustomResourceDefinitions and waits until the API serves them. */
  async applyCrds(path: string): Promise<void> {
    const names = await this.applyFile(path);
    await this.kubectl(['wait', '--for=condition=Established', '--timeout=30s', ...names]);
  }

  /** Resident memory of the API server, in MiB. */
  get residentMib(): number {
    return this.#server?.residentMib ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.api.close();
    await this.stop();
    await this.#etcd.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #kubeconfig(user: KubeconfigUser): string {
    this.#files += 1;
    return writeKubeconfig(join(this.#folder, `kubeconfig-${this.#files}`), this.url, this.caPem, user);
  }

  async #etcdCall<T>(method: string, body: unknown): Promise<T> {
    const answer = await fetch(`${this.#etcdUrl}/v3/kv/${method}`, { method: 'POST', body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`etcd ${method}: ${answer.status} ${await answer.text()}`);
    // The cast is sound: callers name the shape of etcd's own answer.
    return (await answer.json()) as T;
  }
}

interface Parts {
  readonly version: string;
  readonly url: string;
  readonly folder: string;
  readonly pki: TestPki;
  readonly admin: Awaited<ReturnType<TestPki['issue']>>;
  readonly etcd: Component;
  readonly etcdUrl: string;
  readonly command: readonly string[];
}

/** Everything but the API server itself, which may come and go. */
async function prepare(options: ApiServerOptions): Promise<Parts> {
  const { version = KUBERNETES.current } = options;
  const binaries = await kubernetesBinaries({ version });
  const folder = mkdtempSync(join(tmpdir(), 'countersign-api-'));
  const [etcdPort, port] = [await freePort(), await freePort()];
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const etcdCommand = [join(binaries, 'etcd'), ...etcdArguments(join(folder, 'etcd'), etcdUrl)];
  const etcd = new Component('etcd', etcdCommand, join(folder, 'etcd.log'));
  const pki = await TestPki.create();
  const admin = await pki.issue({ name: 'admin', groups: ['system:masters'] });
  await writeFiles(folder, pki);
  const command = [join(binaries, 'kube-apiserver'), ...apiServerArguments({ ...options, version, folder, port, etcdUrl })];
  return { version, url: `https://127.0.0.1:${port}`, folder, pki, admin, etcd, etcdUrl, command };
}

async function writeFiles(folder: string, pki: TestPki): Promise<void> {
  const server = await pki.issue({
    name: 'kube-apiserver',
    dnsNames: ['localhost', 'kubernetes.default.svc'],
    addresses: ['127.0.0.1'],
  });
  const tokens = await createKeyPairPem();
  const auditPolicy = {
    apiVersion: 'audit.k8s.io/v1',
    kind: 'Policy',
    omitStages: ['RequestReceived'],
    rules: [{ level: 'Metadata' }],
  };
  const files = {
    'ca.crt': pki.authority.certificate,
    'server.crt': server.certificate,
    'server.key': server.key,
    'tokens.key': tokens.privateKey,
    'tokens.pub': tokens.publicKey,
    'audit-policy.yaml': JSON.stringify(auditPolicy),
  };
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content, { mode: 0o600 });
}
