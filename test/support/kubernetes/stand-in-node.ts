// What a scheduler and a kubelet would write, for an API server that has neither.
import type { TestApiServer } from './api-server.ts';
import type { TestObject } from './rest.ts';

/** What a test says of a pod; the rest is as plain as can be. */
export interface PodOptions {
  readonly namespace?: string;
  readonly name: string;
  /** The node that it is bound to; none, and it stays unscheduled. */
  readonly node?: string;
  readonly serviceAccount?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Further fields of the spec, such as `containers`. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** A token of a service account. */
export interface TokenOptions {
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly audience?: string;
  /** The pod that it is bound to, as a projected token is; none gives a token of the service account alone. */
  readonly pod?: { readonly name: string; readonly uid: string };
  /** Ten minutes, which the API takes as its least, unless given. */
  readonly ttlSeconds?: number;
}

/** Makes a node that says it is ready. */
export async function createNode(
  { api }: TestApiServer,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<TestObject> {
  const node = await api.expect('POST', '/api/v1/nodes', {
    metadata: { name, labels: { 'kubernetes.io/hostname': name, ...labels } },
  });
  const conditions = [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'stand-in' }];
  const addresses = [{ type: 'InternalIP', address: '127.0.0.1' }];
  const patch = { status: { conditions, addresses } };
  await api.expect('PATCH', `/api/v1/nodes/${name}/status`, patch, 'application/merge-patch+json');
  return node;
}

export async function createNamespace(
  { api }: TestApiServer,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<TestObject> {
  return api.expect('POST', '/api/v1/namespaces', { metadata: { name, labels } });
}

export async function createServiceAccount({ api }: TestApiServer, namespace: string, name: string): Promise<TestObject> {
  return api.expect('POST', `/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } });
}

/** Makes a pod and, with a node named, binds it as the scheduler does. @returns the pod as it is then */
export async function createPod({ api }: TestApiServer, options: PodOptions): Promise<TestObject> {
  const { namespace = 'default', name, node, serviceAccount = 'default', labels = {}, annotations = {}, spec } = options;
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  await api.expect('POST', pods, {
    metadata: { name, labels, annotations },
    spec: { serviceAccountName: serviceAccount, containers: [{ name: 'main', image: 'example.test/app:1' }], ...spec },
  });
  if (node !== undefined) await bindPod(api, pods, name, node);
  return api.expect('GET', `${pods}/${name}`);
}

async function bindPod(api: TestApiServer['api'], pods: string, name: string, node: string): Promise<void> {
  const target = { apiVersion: 'v1', kind: 'Node', name: node };
  await api.expect('POST', `${pods}/${name}/binding`, { metadata: { name }, target });
  const status = { phase: 'Running', hostIP: '127.0.0.1', podIP: '10.244.0.2', conditions: [{ type: 'Ready', status: 'True' }] };
  await api.expect('PATCH', `${pods}/${name}/status`, { status }, 'application/merge-patch+json');
}

/** Takes a pod away at once, as when its node has confirmed its end. */
export async function deletePod({ api }: TestApiServer, namespace: string, name: string): Promise<void> {
  await api.expect('DELETE', `/api/v1/namespaces/${namespace}/pods/${name}`, { gracePeriodSeconds: 0 });
}

/** A token by the TokenRequest API. */
export async function createToken({ api }: TestApiServer, options: TokenOptions): Promise<string> {
  const { namespace = 'default', serviceAccount = 'default', audience, pod, ttlSeconds = 600 } = options;
  const boundObjectRef = pod === undefined ? undefined : { kind: 'Pod', apiVersion: 'v1', name: pod.name, uid: pod.uid };
  const answer = await api.expect('POST', `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`, {
    spec: { audiences: audience === undefined ? [] : [audience], expirationSeconds: ttlSeconds, boundObjectRef },
  });
  // The cast is sound: a TokenRequest is answered with its status filled in.
  return (answer['status'] as { readonly token: string }).token;
}
