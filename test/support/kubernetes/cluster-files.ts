// Everything that the components of the one-node cluster read: certificates, kubeconfig files, configurations, arguments.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { gatesOf, TOKEN_ISSUER } from './api-server-arguments.ts';
import { API_SERVER_URL, NETWORK, NODE_NAME } from './cluster-network.ts';
import { containerdConfig, kubeletConfig, networkConfig, proxyConfig } from './cluster-node-config.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { createKeyPairPem, TestPki } from './pki.ts';

const USERS = {
  admin: { name: 'admin', groups: ['system:masters'] },
  kubelet: { name: `system:node:${NODE_NAME}`, groups: ['system:nodes'] },
  'kube-controller-manager': { name: 'system:kube-controller-manager' },
  'kube-scheduler': { name: 'system:kube-scheduler' },
  'kube-proxy': { name: 'system:kube-proxy' },
} as const;

/** Writes them all. @returns the administrator's kubeconfig file */
export async function writeClusterFiles(folder: string, pauseImage: string): Promise<string> {
  mkdirSync(join(folder, 'cni'), { recursive: true });
  const put = (name: string, content: string): void => writeFileSync(join(folder, name), content, { mode: 0o600 });
  const pki = await TestPki.create('kubernetes');
  await writeCertificates(pki, put);
  for (const [user, holder] of Object.entries(USERS)) {
    writeKubeconfig(join(folder, `${user}.kubeconfig`), API_SERVER_URL, pki.authority.certificate, await pki.issue(holder));
  }
  put('containerd.toml', containerdConfig(folder, pauseImage));
  put('kubelet.yaml', JSON.stringify(kubeletConfig(folder)));
  put('kube-proxy.yaml', JSON.stringify(proxyConfig(folder)));
  put('cni/10-bridge.conflist', JSON.stringify(networkConfig(folder)));
  put('resolv.conf', `nameserver ${NETWORK.dnsService}\n`);
  for (const [name, args] of Object.entries(componentArguments(folder))) put(`${name}.arguments`, `${args.join('\n')}\n`);
  return join(folder, 'admin.kubeconfig');
}

async function writeCertificates(pki: TestPki, put: (name: string, content: string) => void): Promise<void> {
  const frontProxy = await TestPki.create('front-proxy');
  const pairs = {
    ca: pki.authority,
    'front-proxy-ca': frontProxy.authority,
    'front-proxy': await frontProxy.issue({ name: 'front-proxy-client' }),
    'kube-apiserver': await pki.issue({
      name: 'kube-apiserver',
      dnsNames: [
        'kubernetes',
        'kubernetes.default',
        'kubernetes.default.svc',
        `kubernetes.default.svc.${NETWORK.domain}`,
        'localhost',
      ],
      addresses: [NETWORK.node, NETWORK.apiService, '127.0.0.1'],
    }),
    'kubelet-client': await pki.issue({ name: 'kube-apiserver-kubelet-client', groups: ['system:masters'] }),
    kubelet: await pki.issue({ name: `system:node:${NODE_NAME}`, dnsNames: [NODE_NAME], addresses: [NETWORK.node] }),
  };
  for (const [name, { certificate, key }] of Object.entries(pairs)) {
    put(`${name}.crt`, certificate);
    put(`${name}.key`, key);
  }
  const tokens = await createKeyPairPem();
  put('tokens.key', tokens.privateKey);
  put('tokens.pub', tokens.publicKey);
}

function componentArguments(folder: string): Readonly<Record<string, readonly string[]>> {
  const file = (name: string): string => join(folder, name);
  const gates = `--feature-gates=${gatesOf()}`;
  return {
    etcd: [
      `--data-dir=${file('etcd')}`,
      '--unsafe-no-fsync',
      '--listen-client-urls=http://127.0.0.1:2379',
      '--advertise-client-urls=http://127.0.0.1:2379',
      '--listen-peer-urls=http://127.0.0.1:0',
      '--log-level=warn',
    ],
    'kube-apiserver': [...apiServerArguments(file), gates],
    'kube-controller-manager': [
      `--kubeconfig=${file('kube-controller-manager.kubeconfig')}`,
      `--service-account-private-key-file=${file('tokens.key')}`,
      `--root-ca-file=${file('ca.crt')}`,
      `--cluster-signing-cert-file=${file('ca.crt')}`,
      `--cluster-signing-key-file=${file('ca.key')}`,
      '--use-service-account-credentials',
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
      gates,
    ],
    'kube-scheduler': [
      `--kubeconfig=${file('kube-scheduler.kubeconfig')}`,
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
      gates,
    ],
    kubelet: [
      `--config=${file('kubelet.yaml')}`,
      `--kubeconfig=${file('kubelet.kubeconfig')}`,
      `--hostname-override=${NODE_NAME}`,
      `--node-ip=${NETWORK.node}`,
    ],
    'kube-proxy': [`--config=${file('kube-proxy.yaml')}`],
  };
}

function apiServerArguments(file: (name: string) => string): string[] {
  return [
    '--etcd-servers=http://127.0.0.1:2379',
    '--bind-address=0.0.0.0',
    `--advertise-address=${NETWORK.node}`,
    '--secure-port=6443',
    `--tls-cert-file=${file('kube-apiserver.crt')}`,
    `--tls-private-key-file=${file('kube-apiserver.key')}`,
    `--client-ca-file=${file('ca.crt')}`,
    `--kubelet-client-certificate=${file('kubelet-client.crt')}`,
    `--kubelet-client-key=${file('kubelet-client.key')}`,
    `--kubelet-certificate-authority=${file('ca.crt')}`,
    // Else the server asks for the node's name, which nobody here resolves, and `exec` and `logs` time out.
    '--kubelet-preferred-address-types=InternalIP',
    `--requestheader-client-ca-file=${file('front-proxy-ca.crt')}`,
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-username-headers=X-Remote-User',
    `--proxy-client-cert-file=${file('front-proxy.crt')}`,
    `--proxy-client-key-file=${file('front-proxy.key')}`,
    `--service-account-issuer=${TOKEN_ISSUER}`,
    `--service-account-signing-key-file=${file('tokens.key')}`,
    `--service-account-key-file=${file('tokens.pub')}`,
    `--service-cluster-ip-range=${NETWORK.services}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--allow-privileged=true',
    '--runtime-config=certificates.k8s.io/v1beta1=true',
  ];
}
