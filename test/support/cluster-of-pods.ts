// An API server with what a CA that attests pods needs: a user with least rights for it, nodes, and pods with tokens.
import { TestApiServer } from './kubernetes/api-server.ts';
import { kubernetesMissing } from './kubernetes/binaries.ts';
import type { TestObject } from './kubernetes/rest.ts';
import { createNamespace, createNode, createPod, createServiceAccount, createToken } from './kubernetes/stand-in-node.ts';

/** Why there can be no such cluster here; undefined when there can. */
export const clusterMissing = kubernetesMissing();

/** The namespace that CA, controller and agents are in. */
export const SYSTEM = 'countersign-system';

// What the manifests give the CA, and not a verb more.
const RBAC = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: ca }
rules:
  - { apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create] }
  - { apiGroups: [""], resources: [pods, nodes], verbs: [get] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: ca }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ca }
subjects: [{ kind: User, name: ca }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: ca, namespace: ${SYSTEM} }
rules:
  - { apiGroups: [""], resources: [configmaps], verbs: [create] }
  - { apiGroups: [""], resources: [configmaps], resourceNames: [countersign-bundle], verbs: [get, list, watch, patch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: ca, namespace: ${SYSTEM} }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: ca }
subjects: [{ kind: User, name: ca }]
`;

/** A pod of the system namespace, with a token that is bound to it. */
export interface PodWithToken {
  readonly name: string;
  readonly uid: string;
  readonly token: string;
}

/** How {@link ClusterOfPods.pod} makes one. */
export interface PodWish {
  readonly serviceAccount: string;
  /** `node-1` unless given. */
  readonly node?: string;
  readonly audience?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The cluster. */
export class ClusterOfPods implements AsyncDisposable {
  readonly server: TestApiServer;
  readonly nodes: Readonly<Record<'node-1' | 'node-2', TestObject>>;
  /** Of the user `ca`. */
  readonly kubeconfig: string;
  #pods = 0;

  private constructor(server: TestApiServer, nodes: ClusterOfPods['nodes'], kubeconfig: string) {
    this.server = server;
    this.nodes = nodes;
    this.kubeconfig = kubeconfig;
  }

  static async start(): Promise<ClusterOfPods> {
    const server = await TestApiServer.start();
    await createNamespace(server, SYSTEM);
    for (const name of ['agent', 'controller', 'stranger']) await createServiceAccount(server, SYSTEM, name);
    await server.applyYaml(RBAC);
    const node = (name: string): Promise<TestObject> => createNode(server, name, { zone: `zone-of-${name}`, secret: 'x' });
    const nodes = { 'node-1': await node('node-1'), 'node-2': await node('node-2') };
    return new ClusterOfPods(server, nodes, await server.userKubeconfig('ca'));
  }

  /** A running pod with a token. */
  async pod({ serviceAccount, node = 'node-1', audience = 'spire-server', labels = {} }: PodWish): Promise<PodWithToken> {
    const name = `${serviceAccount}-${(this.#pods += 1)}`;
    const pod = await createPod(this.server, { namespace: SYSTEM, name, serviceAccount, node, labels });
    const uid = pod.metadata.uid ?? '';
    return { name, uid, token: await this.token({ name, uid }, serviceAccount, audience) };
  }

  /** Another token of a pod. */
  token(pod: { readonly name: string; readonly uid: string }, serviceAccount: string, audience: string): Promise<string> {
    const { name, uid } = pod;
    return createToken(this.server, { namespace: SYSTEM, serviceAccount, audience, pod: { name, uid } });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }
}
