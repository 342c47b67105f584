// Pods, nodes, namespaces and declarations as short as a test can say them.
import { parseClusterWorkloadIdentity } from '../../crds/cluster-workload-identity.ts';
import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import { parseWorkloadIdentity } from '../../crds/workload-identity.ts';
import type { IdentitySettings } from '../../controller/identity/settings.ts';
import { EVERYTHING, trimObject } from '../../controller/identity/trim.ts';
import type { NodeRecord, PodRecord, Trim } from '../../controller/ports.ts';
import { parseTemplate } from '../../controller/template/template.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';

/** Settings as `controller.yaml` has them when it says nothing. */
export function testSettings(changes: Partial<IdentitySettings> = {}): IdentitySettings {
  return {
    trustDomain: parseTrustDomain('example.org'),
    clusterName: 'main',
    clusterDomain: 'cluster.local',
    parentIdTemplate: parseTemplate('spiffe://{{ .TrustDomain }}/agent/{{ .NodeMeta.UID }}', 'parentIdTemplate'),
    className: '',
    watchClassless: true,
    ignoreNamespaces: [/^ignored$/],
    namespacePath: (namespace) => `/ns/${namespace}`,
    allowAdminIdentities: false,
    declaresWorkloads: false,
    ...changes,
  };
}

/** What a test says of a pod. */
export interface TestPod {
  readonly namespace?: string;
  readonly name: string;
  readonly uid?: string;
  /** `undefined` given: on no node. */
  readonly node?: string | undefined;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finished?: boolean;
  readonly trim?: Trim;
}

/** A pod on the node `n1`, unless told otherwise. */
export function testPod({
  namespace = 'shop',
  name,
  finished = false,
  labels = {},
  annotations = {},
  trim = EVERYTHING,
  ...rest
}: TestPod): PodRecord {
  const uid = rest.uid ?? `uid-${name}`;
  const nodeName = 'node' in rest ? rest.node : 'n1';
  const metadata = { namespace, name, uid, labels, annotations };
  const serviceAccountName = `sa-${name}`;
  const spec = { nodeName, serviceAccountName };
  return {
    namespace,
    name,
    uid,
    nodeName,
    serviceAccountName,
    labels,
    finished,
    createdAtMs: 0,
    object: trimObject({ metadata, spec }, trim),
  };
}

export function testNode(name: string, uid = `uid-${name}`): NodeRecord {
  return { name, uid, object: trimObject({ metadata: { name, uid }, spec: {} }, EVERYTHING) };
}

/** What a test says of a declaration: its metadata, and its spec as in YAML. */
export interface TestDeclaration {
  readonly name: string;
  readonly createdAtSeconds?: number;
  readonly spec: Readonly<Record<string, unknown>>;
}

function objectOf(kind: string, { name, createdAtSeconds = 0, spec }: TestDeclaration, namespace?: string): unknown {
  const creationTimestamp = new Date(createdAtSeconds * 1000).toISOString();
  const metadata = { name, uid: `uid-${name}`, creationTimestamp, ...(namespace === undefined ? {} : { namespace }) };
  return { apiVersion: 'countersign.dev/v1alpha1', kind, metadata, spec };
}

export function clusterIdentity(declaration: TestDeclaration): IdentityDeclaration {
  return parseClusterWorkloadIdentity(objectOf('ClusterWorkloadIdentity', declaration));
}

export function teamIdentity(namespace: string, declaration: TestDeclaration): IdentityDeclaration {
  return parseWorkloadIdentity(objectOf('WorkloadIdentity', declaration, namespace));
}
