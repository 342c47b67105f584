// The configuration of what runs on the node. Each setting that is not a default was found by a failure without it.
import { join } from 'node:path';

import { NETWORK, NODE_NAME } from './cluster-network.ts';

/** Debian's containerd 1.6. */
export function containerdConfig(folder: string, pauseImage: string): string {
  return `version = 2
root = "${join(folder, 'containerd')}"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  # A process without CAP_SYS_RESOURCE may not lower its score, and a sandbox asks for that.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${join(folder, 'cni')}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`;
}

export function kubeletConfig(folder: string): unknown {
  const file = (name: string): string => join(folder, name);
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: file('ca.crt') } },
    authorization: { mode: 'Webhook' },
    tlsCertFile: file('kubelet.crt'),
    tlsPrivateKeyFile: file('kubelet.key'),
    cgroupDriver: 'cgroupfs',
    failCgroupV1: false,
    failSwapOn: false,
    oomScoreAdj: 0,
    enforceNodeAllocatable: [],
    // The disk of the machine is not this cluster's own: it must neither evict pods nor delete images for it.
    evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'nodefs.inodesFree': '0%', 'imagefs.available': '0%' },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    clusterDomain: NETWORK.domain,
    clusterDNS: [NETWORK.dnsService],
    resolvConf: file('resolv.conf'),
    volumePluginDir: file('volume-plugins'),
    // Nothing here was made for the node's own iptables chains, and kube-proxy uses nftables.
    makeIPTablesUtilChains: false,
    featureGates: { PodCertificateRequest: true, ClusterTrustBundle: true, ClusterTrustBundleProjection: true },
  };
}

export function proxyConfig(folder: string): unknown {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    clusterCIDR: NETWORK.pods,
    hostnameOverride: NODE_NAME,
    clientConnection: { kubeconfig: join(folder, 'kube-proxy.kubeconfig') },
    // These belong to the whole machine.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    oomScoreAdj: 0,
  };
}

/** One bridge for the pods. */
export function networkConfig(folder: string): unknown {
  const ranges = [[{ subnet: NETWORK.pods }]];
  const ipam = { type: 'host-local', dataDir: join(folder, 'addresses'), ranges, routes: [{ dst: '0.0.0.0/0' }] };
  return {
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [{ type: 'bridge', bridge: 'pods0', isGateway: true, hairpinMode: true, ipam }],
  };
}
