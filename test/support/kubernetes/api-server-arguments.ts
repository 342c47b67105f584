import { join } from 'node:path';

import type { ApiServerOptions } from './api-server.ts';

/** The issuer of service-account tokens. */
export const TOKEN_ISSUER = 'https://kubernetes.default.svc.cluster.local';

// What has become a fixed part of the product can no longer be named as a gate: the oldest version where each still is one
// is 1.35, the newest 1.37 (a test starts each of them).
const FEATURE_GATES = { PodCertificateRequest: true, ClusterTrustBundle: true, ClusterTrustBundleProjection: true };
const RUNTIME_CONFIG = 'certificates.k8s.io/v1beta1=true';

/** What the arguments of an API server are made from. */
export interface ApiServerPlace extends ApiServerOptions {
  readonly version: string;
  /** Holds its certificates and keys. */
  readonly folder: string;
  readonly port: number;
  readonly etcdUrl: string;
}

/** `key=value,key=value` of gates. */
export function gatesOf(gates: Readonly<Record<string, boolean>> = {}): string {
  return Object.entries({ ...FEATURE_GATES, ...gates })
    .map(([name, on]) => `${name}=${on}`)
    .join(',');
}

/** The arguments of a `kube-apiserver` on loopback. */
export function apiServerArguments(place: ApiServerPlace): string[] {
  const { folder, port, etcdUrl, featureGates, runtimeConfig = RUNTIME_CONFIG, audit = false } = place;
  const file = (name: string): string => join(folder, name);
  return [
    `--etcd-servers=${etcdUrl}`,
    '--bind-address=127.0.0.1',
    `--secure-port=${port}`,
    // A loopback address cannot be the endpoint of the kubernetes Service; nothing here needs one.
    '--endpoint-reconciler-type=none',
    `--tls-cert-file=${file('server.crt')}`,
    `--tls-private-key-file=${file('server.key')}`,
    `--client-ca-file=${file('ca.crt')}`,
    `--service-account-issuer=${TOKEN_ISSUER}`,
    `--service-account-signing-key-file=${file('tokens.key')}`,
    `--service-account-key-file=${file('tokens.pub')}`,
    '--service-cluster-ip-range=10.98.0.0/24',
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    // No controller makes the default service account of a namespace here, which that plugin would wait for.
    '--disable-admission-plugins=ServiceAccount',
    '--allow-privileged=true',
    `--feature-gates=${gatesOf(featureGates)}`,
    ...(runtimeConfig === '' ? [] : [`--runtime-config=${runtimeConfig}`]),
    ...(audit ? [`--audit-policy-file=${file('audit-policy.yaml')}`, `--audit-log-path=${file('audit.jsonl')}`] : []),
    ...(place.arguments ?? []),
  ];
}

/** The arguments of an etcd on loopback that keeps its data while its machine stays up, and no longer. */
export function etcdArguments(dataFolder: string, url: string): string[] {
  return [
    `--data-dir=${dataFolder}`,
    '--unsafe-no-fsync',
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    '--listen-peer-urls=http://127.0.0.1:0',
    '--log-level=warn',
  ];
}
