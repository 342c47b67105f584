import type { CallOptions, KubeClient } from '../../runtime/kubernetes/client.ts';
import { isRecord } from '../../runtime/kubernetes/errors.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { NODES, PODS, SERVICE_ACCOUNTS } from '../../runtime/kubernetes/resource-types.ts';
import type { CertificateRequest } from './certificate-request.ts';
import { RequestRefused } from './refusal.ts';

/** The part of the API that {@link readLivePod} uses. */
export type LiveObjects = Pick<KubeClient, 'find'>;

/** What entries' selectors are compared with. */
export interface LivePod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly nodeName: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** What a request is compared with besides its own words. */
export interface LivePodOptions extends CallOptions {
  /** The pod must have a volume that asks this signer. */
  readonly signerName: string;
}

const MIRROR = 'kubernetes.io/config.mirror';

/**
 * Reads the pod, its service account and its node from the API server, not from a cache, and checks that they are the ones that
 * the request speaks of: the same UIDs, the pod on that node, of that account and with a volume for the certificate.
 *
 * @throws RequestRefused `Denied` when they do not agree; IdentityError when the API server cannot be asked
 */
export async function readLivePod(client: LiveObjects, request: CertificateRequest, options: LivePodOptions): Promise<LivePod> {
  const { namespace, podName, serviceAccountName, nodeName } = request;
  const [pod, account, node] = await Promise.all([
    client.find(PODS, { namespace, name: podName }, options),
    client.find(SERVICE_ACCOUNTS, { namespace, name: serviceAccountName }, options),
    client.find(NODES, { name: nodeName }, options),
  ]);
  requireUid(pod, request.podUid, `pod ${namespace}/${podName}`);
  const spec = isRecord(pod?.['spec']) ? pod['spec'] : {};
  require(spec['nodeName'], nodeName, `pod ${namespace}/${podName} runs on node`);
  require(spec['serviceAccountName'], serviceAccountName, `pod ${namespace}/${podName} runs as service account`);
  requireUid(account, request.serviceAccountUid, `service account ${namespace}/${serviceAccountName}`);
  requireUid(node, request.nodeUid, `node ${nodeName}`);
  const { labels = {}, annotations = {} } = pod?.metadata ?? {};
  if (Object.hasOwn(annotations, MIRROR)) {
    throw mismatch(`pod ${namespace}/${podName} is a static pod: its object is the kubelet's own, so that nobody vouches for it`);
  }
  if (!hasVolumeOf(spec, options.signerName)) {
    throw mismatch(`pod ${namespace}/${podName} has no podCertificate volume of signer ${options.signerName}`);
  }
  return { namespace, name: podName, uid: request.podUid, nodeName, serviceAccount: serviceAccountName, labels };
}

function hasVolumeOf(spec: Readonly<Record<string, unknown>>, signerName: string): boolean {
  const sources = recordsIn(spec['volumes']).flatMap(({ projected }) =>
    isRecord(projected) ? recordsIn(projected['sources']) : [],
  );
  return sources.some(({ podCertificate }) => isRecord(podCertificate) && podCertificate['signerName'] === signerName);
}

function recordsIn(list: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(list) ? list.filter(isRecord) : [];
}

function requireUid(object: KubeObject | undefined, uid: string, what: string): void {
  if (object === undefined) throw mismatch(`${what} does not exist`);
  if (object.metadata.uid !== uid) throw mismatch(`${what} is another one by now: its UID is not the one in the request`);
}

function require(actual: unknown, asked: string, what: string): void {
  if (actual !== asked)
    throw mismatch(`${what} ${typeof actual === 'string' ? actual : '(none)'}, not ${asked} as the request says`);
}

function mismatch(message: string): RequestRefused {
  return new RequestRefused('Denied', 'PodMismatch', message);
}
