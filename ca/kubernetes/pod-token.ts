import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { KubeObject, ObjectName } from '../../runtime/kubernetes/object.ts';
import { NODES, PODS, TOKEN_REVIEWS, type ResourceType } from '../../runtime/kubernetes/resource-types.ts';
import type { Cluster } from './cluster.ts';

/** The pod that a projected service-account token is bound to, and the node it runs on, as the API server knows them now. */
export interface PodIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly podName: string;
  readonly podUid: string;
  readonly podLabels: Readonly<Record<string, string>>;
  readonly nodeName: string;
  /** Empty while the pod's status does not tell. */
  readonly nodeIp: string;
}

/** A node as the API server knows it. */
export interface NodeFacts {
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** What a token must be good for. */
export interface TokenDemand {
  readonly token: string;
  /** The token must be meant for one of these; none: for the API server itself. */
  readonly audiences: readonly string[];
  /** Whether a service account, as `namespace:name`, may prove itself; asked before the pod is looked up. */
  readonly admits: (serviceAccount: string) => boolean;
}

// A token with a thousand groups is still far below this.
const MAX_TOKEN_BYTES = 32 * 1024;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
// Whoever waits for the answer gives up after half a minute.
const ASK = { timeoutMs: 8_000 };
const USER_PREFIX = 'system:serviceaccount:';
const EXTRA_PREFIX = 'authentication.kubernetes.io/';
const FINISHED_PHASES: ReadonlySet<unknown> = new Set(['Succeeded', 'Failed']);

/** What a reviewed token says of its bearer. */
interface Bearer extends Pick<PodIdentity, 'namespace' | 'serviceAccount' | 'podName' | 'podUid'> {
  /** Newer API servers write the node into the token; empty where they do not. */
  readonly nodeName: string;
  readonly nodeUid: string;
}

/**
 * Has the API server review a projected service-account token, and looks up the pod that it is bound to.
 *
 * @throws IdentityError `invalid_argument` for what is no token, `permission_denied` for one that proves nothing here (expired,
 *   for another audience, of a service account that is not allowed, of a pod that is gone, finished or another one by now),
 *   `unavailable` when the API server does not answer or does not let the CA ask
 */
export async function verifyPodToken(cluster: Cluster, demand: TokenDemand): Promise<{ pod: PodIdentity; node: NodeFacts }> {
  const bearer = await reviewToken(cluster, demand);
  const pod = await lookUp(cluster, PODS, { namespace: bearer.namespace, name: bearer.podName });
  const nodeName = checkPod(cluster, pod, bearer);
  const node = await lookUp(cluster, NODES, { name: nodeName });
  const uid = node.metadata.uid ?? '';
  if (uid === '') throw new IdentityError('internal', `the API server of cluster "${cluster.name}" named no UID of the node`);
  if (bearer.nodeUid !== '' && bearer.nodeUid !== uid) {
    throw denied(cluster, `the token was made on another node that was called "${nodeName}" before`);
  }
  const { namespace, serviceAccount, podName, podUid } = bearer;
  const nodeIp = textAt(pod, 'status', 'hostIP');
  const identity = { namespace, serviceAccount, podName, podUid, podLabels: pod.metadata.labels ?? {}, nodeName, nodeIp };
  return { pod: identity, node: { uid, labels: node.metadata.labels ?? {} } };
}

async function reviewToken(cluster: Cluster, { token, audiences, admits }: TokenDemand): Promise<Bearer> {
  if (Buffer.byteLength(token) > MAX_TOKEN_BYTES || !JWT.test(token)) {
    throw new IdentityError('invalid_argument', 'is no service-account token', { field: 'token' });
  }
  const review = { metadata: {}, spec: { token, ...(audiences.length === 0 ? {} : { audiences }) } };
  const { status } = await ask(cluster, 'review tokens', () => cluster.api.create(TOKEN_REVIEWS, review, ASK));
  if (at(status, 'authenticated') !== true) throw denied(cluster, `the token is not valid: ${refusalIn(status)}`);
  // An API server that knows nothing of audiences says none: then the token is for itself, whatever was asked for.
  const granted = textsAt(status, 'audiences');
  if (audiences.length > 0 && !audiences.some((audience) => granted.includes(audience))) {
    throw denied(cluster, `the token is not for the audience ${audiences.join(' or ')}`);
  }
  return readBearer(cluster, status, admits);
}

function readBearer(cluster: Cluster, status: unknown, admits: TokenDemand['admits']): Bearer {
  const user = textAt(status, 'user', 'username');
  const [namespace = '', serviceAccount = '', ...more] = user.startsWith(USER_PREFIX)
    ? user.slice(USER_PREFIX.length).split(':')
    : [];
  if (namespace === '' || serviceAccount === '' || more.length > 0) {
    throw denied(cluster, 'the token is of no service account');
  }
  const name = `${namespace}:${serviceAccount}`;
  if (!admits(name)) throw denied(cluster, `the service account "${name}" is not on the list of allowed ones`);
  const extra = (key: string): string => textsAt(at(status, 'user', 'extra'), `${EXTRA_PREFIX}${key}`)[0] ?? '';
  const [podName, podUid] = [extra('pod-name'), extra('pod-uid')];
  if (podName === '' || podUid === '') {
    throw denied(cluster, 'the token is not bound to a pod; use a projected service-account token');
  }
  return { namespace, serviceAccount, podName, podUid, nodeName: extra('node-name'), nodeUid: extra('node-uid') };
}

/** Whether the pod is the token's, and alive. Returns the name of its node. */
function checkPod(cluster: Cluster, pod: KubeObject, bearer: Bearer): string {
  const { podName, podUid, serviceAccount } = bearer;
  if (pod.metadata.uid !== podUid)
    throw denied(cluster, `the pod "${podName}" is another one by now: its UID is not the token's`);
  if (pod.metadata.deletionTimestamp !== undefined) throw denied(cluster, `the pod "${podName}" is being deleted`);
  if (FINISHED_PHASES.has(at(pod, 'status', 'phase'))) throw denied(cluster, `the pod "${podName}" has finished`);
  if (textAt(pod, 'spec', 'serviceAccountName') !== serviceAccount) {
    throw denied(cluster, `the pod "${podName}" runs under another service account than the token's`);
  }
  const nodeName = textAt(pod, 'spec', 'nodeName');
  if (nodeName === '') throw denied(cluster, `the pod "${podName}" is on no node yet`);
  if (bearer.nodeName !== '' && bearer.nodeName !== nodeName) {
    throw denied(cluster, `the pod "${podName}" is on the node "${nodeName}", the token was made on "${bearer.nodeName}"`);
  }
  return nodeName;
}

function lookUp(cluster: Cluster, type: ResourceType, name: ObjectName): Promise<KubeObject> {
  return ask(cluster, `read ${type.plural}`, () => cluster.api.get(type, name, ASK)).catch((error: unknown) => {
    if (!isIdentityError(error, 'not_found')) throw error;
    throw denied(cluster, `the ${type.kind.toLowerCase()} "${name.name}" does not exist`, error);
  });
}

/** What fails on the CA's side, not the caller's, is worth another attempt once it is mended. */
async function ask<T>(cluster: Cluster, doing: string, question: () => Promise<T>): Promise<T> {
  try {
    return await question();
  } catch (cause) {
    if (isIdentityError(cause, 'not_found') || isIdentityError(cause, 'resource_exhausted')) throw cause;
    const why = cause instanceof IdentityError ? cause.message : 'unexpected answer';
    const message = `the CA could not ${doing} at the API server of cluster "${cluster.name}": ${why}`;
    throw new IdentityError('unavailable', message, { cause });
  }
}

const MAX_REFUSAL_LENGTH = 300;

/** The API server's words; they name times and audiences, never the token. */
function refusalIn(status: unknown): string {
  const why = textAt(status, 'error').slice(0, MAX_REFUSAL_LENGTH);
  return why === '' ? 'the API server does not say why' : why;
}

function denied(cluster: Cluster, why: string, cause?: unknown): IdentityError {
  return new IdentityError('permission_denied', `cluster "${cluster.name}": ${why}`, { cause });
}

function at(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    // The cast is sound: any object may be asked for a property.
    (parent, key) => (typeof parent === 'object' && parent !== null ? (parent as Record<string, unknown>)[key] : undefined),
    value,
  );
}

function textAt(value: unknown, ...path: readonly string[]): string {
  const found = at(value, ...path);
  return typeof found === 'string' ? found : '';
}

function textsAt(value: unknown, ...path: readonly string[]): readonly string[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found.filter((item): item is string => typeof item === 'string') : [];
}
