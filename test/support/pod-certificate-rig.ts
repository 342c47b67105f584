// Kubelets that ask for pod certificates, the controller's signer, and a real CA: all that a podCertificate volume needs but the mount.
import { constants, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createPodCertificateMetrics } from '../../controller/pod-certificates/pod-certificate-metrics.ts';
import { PodCertificateSigner } from '../../controller/pod-certificates/pod-certificate-signer.ts';
import { signSvidOver } from '../../controller/pod-certificates/sign-svid.ts';
import type { DesiredEntry, PodEntries, PodEntry } from '../../controller/ports.ts';
import { systemClock } from '../../core/clock.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { openKubeClient, type KubeClient } from '../../runtime/kubernetes/client.ts';
import type { KubeEvent } from '../../runtime/kubernetes/events.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { POD_CERTIFICATE_REQUESTS, type ResourceType } from '../../runtime/kubernetes/resource-types.ts';
import { createLogger } from '../../runtime/log.ts';
import { createMetrics } from '../../runtime/metrics.ts';
import { CaProcess } from './ca-process.ts';
import { TestApiServer } from './kubernetes/api-server.ts';
import { createPod } from './kubernetes/stand-in-node.ts';
import type { TestObject } from './kubernetes/rest.ts';
import { createTestCsr } from './test-csr.ts';
import { createTestKey, type TestKey } from './test-keys.ts';

export const SIGNER = 'countersign.dev/svid';
const log = createLogger({ level: 'fatal', name: 'test' });

/** What a request of a kubelet says beyond the pod. */
export interface RequestOptions {
  readonly key?: TestKey;
  readonly maxExpirationSeconds?: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly signerName?: string;
  /** Fields of the spec that are wrong on purpose. */
  readonly spec?: Readonly<Record<string, unknown>>;
  /** Who asks; the node's kubelet unless given. */
  readonly client?: KubeClient;
}

/** What a pod has beyond its name. */
export interface PodSettings {
  readonly labels?: Readonly<Record<string, string>>;
  readonly mounts?: boolean;
}

/** What an entry has beyond its ID. */
export interface EntryOptions {
  readonly ttlSeconds?: number;
  readonly dnsNames?: readonly string[];
  readonly selectors?: readonly string[];
}

/** The parts of a request's status that tests look at. */
export interface RequestStatusSeen {
  readonly conditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
    readonly message: string;
  }[];
  readonly certificateChain?: string;
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly beginRefreshAt?: string;
}

/** An API server, a CA and the signer between them. Entries are registered at the CA by the test, as the controller would. */
export class PodCertificateRig implements AsyncDisposable {
  readonly server: TestApiServer;
  ca: CaProcess;
  /** A member of `system:masters`. */
  readonly admin: KubeClient;
  readonly type: ResourceType;
  readonly node: TestObject;
  readonly events: KubeEvent[] = [];
  readonly #connection: GrpcConnection;
  readonly #kubelet: KubeClient;
  readonly #signerClient: KubeClient;
  readonly #entries = new Map<string, PodEntry[]>();
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  private constructor(parts: {
    readonly server: TestApiServer;
    readonly ca: CaProcess;
    readonly admin: KubeClient;
    readonly type: ResourceType;
    readonly node: TestObject;
    readonly kubelet: KubeClient;
    readonly signerClient: KubeClient;
  }) {
    this.server = parts.server;
    this.ca = parts.ca;
    this.admin = parts.admin;
    this.type = parts.type;
    this.node = parts.node;
    this.#kubelet = parts.kubelet;
    this.#signerClient = parts.signerClient;
    this.#connection = parts.ca.connect();
  }

  /** Starts everything; `rbac` is YAML that gives the user `controller` what the signer needs. */
  static async start({ version, rbac }: { readonly version: string; readonly rbac: string }): Promise<PodCertificateRig> {
    const folder = mkdtempSync(join(tmpdir(), 'ca-'));
    const [server, ca] = await Promise.all([TestApiServer.start({ version }), CaProcess.start({ folder })]);
    const admin = await clientOf(server.kubeconfigFile);
    await server.applyYaml(rbac);
    const node = await server.api.expect('POST', '/api/v1/nodes', { metadata: { name: 'n1' } });
    await server.api.expect('POST', '/api/v1/namespaces', { metadata: { name: 'payments' } });
    await server.api.expect('POST', '/api/v1/namespaces/payments/serviceaccounts', { metadata: { name: 'web' } });
    const type = await admin.firstServed(POD_CERTIFICATE_REQUESTS);
    if (type === undefined) throw new Error('the API server serves no PodCertificateRequest');
    const kubelet = await clientOf(await server.userKubeconfig('system:node:n1', ['system:nodes']));
    const signerClient = await clientOf(await server.userKubeconfig('controller'));
    const rig = new PodCertificateRig({ server, ca, admin, type, node, kubelet, signerClient });
    rig.#running = rig.#signer().run(rig.#stop.signal);
    return rig;
  }

  #signer(): PodCertificateSigner {
    const entries: PodEntries = { entriesOfPod: (uid) => this.#entries.get(uid) ?? [] };
    return new PodCertificateSigner({
      client: this.#signerClient,
      entries,
      sign: signSvidOver(this.#connection),
      events: { record: (event) => void this.events.push(event) },
      signerName: SIGNER,
      clock: systemClock,
      log,
      metrics: createPodCertificateMetrics(createMetrics()),
    });
  }

  /** A pod on the node, with a volume for its certificate unless it is to have none. */
  pod(name: string, { labels = {}, mounts = true }: PodSettings = {}): Promise<TestObject> {
    const sources = [SIGNER, 'example.org/other'].map((signerName) => ({
      podCertificate: { signerName, keyType: 'ECDSAP256', credentialBundlePath: `${signerName.replace('/', '-')}.pem` },
    }));
    const spec = mounts ? { volumes: [{ name: 'svid', projected: { sources } }] } : {};
    return createPod(this.server, { namespace: 'payments', name, node: 'n1', serviceAccount: 'web', labels, spec });
  }

  /** Registers an entry for a pod, at the CA and in what the signer knows; `declare` alone leaves out the CA. */
  async register(pod: TestObject, path: string, options: EntryOptions = {}): Promise<void> {
    const declared = this.declare(pod, path, options);
    const { entry } = declared;
    const { results } = await this.#connection.client(Entry).batchCreateEntry({
      entries: [
        {
          spiffeId: { trustDomain: 'example.org', path },
          parentId: { trustDomain: 'example.org', path: `/spire/agent/k8s_psat/main/${this.node.metadata.uid ?? ''}` },
          selectors: entry.selectors.map((text) => ({ type: 'k8s', value: text.slice(4) })),
          x509SvidTtl: entry.x509SvidTtlSeconds,
          dnsNames: [...entry.dnsNames],
        },
      ],
    });
    const id = results[0]?.entry?.id;
    if (id === undefined) throw new Error(`entry not created: ${results[0]?.status?.message ?? ''}`);
    this.#replace(pod, declared, { ...declared, entryId: id });
  }

  /** Declares an entry that the CA has not acknowledged yet. */
  declare(pod: TestObject, path: string, { ttlSeconds = 0, dnsNames = [], selectors = [] }: EntryOptions = {}): PodEntry {
    const uid = pod.metadata.uid ?? '';
    const entry: DesiredEntry = {
      key: path,
      spiffeId: `spiffe://example.org${path}`,
      parentId: 'spiffe://example.org/spire/agent/k8s_psat/main/n1',
      selectors: [`k8s:pod-uid:${uid}`, ...selectors],
      x509SvidTtlSeconds: ttlSeconds,
      jwtSvidTtlSeconds: 0,
      federatesWith: [],
      admin: false,
      downstream: false,
      dnsNames,
      hint: '',
      storeSvid: false,
      jwtClaims: undefined,
    };
    const declaredBy = { kind: 'ClusterWorkloadIdentity', namespace: '', name: 'web', uid: '1' };
    const declared = { entryId: undefined, entry, declaredBy };
    this.#entries.set(uid, [...(this.#entries.get(uid) ?? []), declared]);
    return declared;
  }

  #replace(pod: TestObject, before: PodEntry, after: PodEntry): void {
    const uid = pod.metadata.uid ?? '';
    const all = this.#entries.get(uid) ?? [];
    this.#entries.set(
      uid,
      all.map((each) => (each === before ? after : each)),
    );
  }

  /** Asks for a pod's certificate as its kubelet does. */
  async ask(pod: TestObject, options: RequestOptions = {}): Promise<KubeObject> {
    const { key = createTestKey(), maxExpirationSeconds, annotations, signerName = SIGNER, client = this.#kubelet } = options;
    const account = await this.server.api.expect('GET', '/api/v1/namespaces/payments/serviceaccounts/web');
    const given = options.spec?.['podUID'];
    const podUid = typeof given === 'string' ? given : pod.metadata.uid;
    const spec = {
      signerName,
      podName: pod.metadata.name,
      podUID: pod.metadata.uid,
      serviceAccountName: 'web',
      serviceAccountUID: account.metadata.uid,
      nodeName: 'n1',
      nodeUID: this.node.metadata.uid,
      maxExpirationSeconds,
      unverifiedUserAnnotations: annotations,
      ...this.#proof(podUid ?? '', key),
      ...options.spec,
    };
    const metadata = { generateName: 'req-', namespace: 'payments' };
    return client.create(this.type, { metadata, spec });
  }

  /** The kubelet of 1.35 sends a key and a signature over the pod's UID, later ones a CSR. */
  #proof(podUid: string, key: TestKey): Record<string, string> {
    if (!this.server.version.startsWith('v1.35')) {
      return { stubPKCS10Request: base64(createTestCsr({ key, uris: [], attributes: [] })) };
    }
    const padding = key.kind.startsWith('RSA') ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {};
    const hash = key.kind === 'Ed25519' ? null : 'sha256';
    const proof = sign(hash, Buffer.from(podUid), { key: key.privateKey, ...padding });
    return { pkixPublicKey: base64(key.spki), proofOfPossession: base64(proof) };
  }

  /** Starts the CA again, on its data of before. */
  async restartCa(): Promise<void> {
    const { folder } = this.ca;
    await this.ca.stop();
    this.ca = await CaProcess.start({ folder });
  }

  /** The status of a request as it is now. */
  async status(request: KubeObject): Promise<RequestStatusSeen> {
    const { namespace = '', name = '' } = request.metadata;
    const { status } = await this.admin.get<KubeObject & { readonly status?: RequestStatusSeen }>(this.type, { namespace, name });
    return status ?? {};
  }

  /** `Type/Reason` of a request's condition; undefined while it waits. */
  async outcome(request: KubeObject): Promise<string | undefined> {
    const [condition] = (await this.status(request)).conditions ?? [];
    return condition === undefined ? undefined : `${condition.type}/${condition.reason}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    for (const client of [this.admin, this.#kubelet, this.#signerClient]) client[Symbol.dispose]();
    this.#connection[Symbol.dispose]();
    await Promise.all([this.server[Symbol.asyncDispose](), this.ca[Symbol.asyncDispose]()]);
    rmSync(this.ca.folder, { recursive: true, force: true });
  }
}

/** A client with the credentials of a kubeconfig file. */
export function clientOf(kubeconfigFile: string): Promise<KubeClient> {
  return openKubeClient({ kubeconfigFile, clock: systemClock, log });
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
