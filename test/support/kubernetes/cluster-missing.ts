import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

import { isInstalled } from '../toolchain.ts';
import { CLUSTER_BINARIES, KUBERNETES, kubernetesMissing } from './binaries.ts';

const COMMANDS: Readonly<Record<string, string>> = {
  containerd: 'containerd',
  ctr: 'containerd',
  runc: 'runc',
  nft: 'nftables',
  iptables: 'iptables',
  conntrack: 'conntrack',
  ip: 'iproute2',
  mount: 'mount',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
};
const NETWORK_PLUGIN = '/usr/lib/cni/bridge';

let missing: string | undefined | null = null;

/**
 * Why no real cluster can run here; undefined when one can. With `KUBECONFIG` there is one already. Otherwise installs the
 * Debian packages that are absent, once, when this process may.
 */
export function clusterMissing(): string | undefined {
  if (missing === null) missing = findMissing();
  return missing;
}

function findMissing(): string | undefined {
  if (!isInstalled('kubectl')) return 'kubectl is not installed';
  if (process.env['KUBECONFIG'] !== undefined) return undefined;
  if (process.platform !== 'linux') return 'a cluster needs Linux; or set KUBECONFIG';
  if (process.getuid?.() !== 0) return 'a cluster is made by root only; or set KUBECONFIG';
  if (absentPackages().length > 0) install(absentPackages());
  if (absentPackages().length > 0)
    return `packages that could not be installed: ${absentPackages().join(' ')}; or set KUBECONFIG`;
  if (!mayUnshare()) return 'this process may not make namespaces; or set KUBECONFIG';
  return kubernetesMissing({ version: KUBERNETES.cluster, names: CLUSTER_BINARIES });
}

function absentPackages(): string[] {
  const absent = Object.entries(COMMANDS).filter(([command]) => !isInstalled(command) && !existsSync(`/usr/sbin/${command}`));
  const packages = absent.map(([, name]) => name);
  if (!existsSync(NETWORK_PLUGIN)) packages.push('containernetworking-plugins');
  return [...new Set(packages)];
}

function mayUnshare(): boolean {
  const namespaces = ['--mount', '--net', '--pid', '--uts', '--fork', '--mount-proc'];
  return spawnSync('unshare', [...namespaces, 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' }).status === 0;
}

function install(packages: readonly string[]): void {
  if (!isInstalled('apt-get')) return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  process.stderr.write(`cluster: installing ${packages.join(' ')}…\n`);
  // Whether it worked is seen by looking for the commands.
  spawnSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  spawnSync('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...packages], { env, stdio: 'ignore' });
}
