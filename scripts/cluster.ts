// A real one-node Kubernetes on this machine, for trying things and for the cluster tests:
//   node scripts/cluster.ts up | down | status
//   node scripts/cluster.ts load              builds the images of this checkout and makes them known to the node
//   node scripts/cluster.ts kubectl ARGS…
//   node scripts/cluster.ts node COMMAND…     runs a command on the node
// It needs root, Go on the first run, and Debian's containerd and friends, which it installs. `up` again is harmless.
import { spawnSync } from 'node:child_process';

import { clusterMissing } from '../test/support/kubernetes/cluster-missing.ts';
import { runningCluster, startCluster, stopCluster } from '../test/support/kubernetes/cluster.ts';
import type { Cluster } from '../test/support/kubernetes/cluster.ts';
import { buildProductImage, buildWorkloadImage } from '../test/support/kubernetes/image.ts';
import { inNode } from '../test/support/kubernetes/node-namespaces.ts';

const [command = 'status', ...args] = process.argv.slice(2);

switch (command) {
  case 'up':
    await up();
    break;
  case 'down':
    await stopCluster(existing());
    break;
  case 'status':
    hand(['kubectl', '--kubeconfig', existing().state.kubeconfigFile, 'get', 'nodes,pods', '-A', '-o', 'wide']);
    break;
  case 'load':
    for (const image of [buildProductImage(), await buildWorkloadImage()]) console.log(await existing().loadImage(image));
    break;
  case 'kubectl':
    hand(['kubectl', '--kubeconfig', existing().state.kubeconfigFile, ...args]);
    break;
  case 'node':
    hand(inNode(existing().state.pid ?? 0, args));
    break;
  default:
    fail(`unknown command "${command}": use up, down, status, load, kubectl or node`);
}

async function up(): Promise<void> {
  const missing = clusterMissing();
  if (missing !== undefined) fail(missing);
  const started = performance.now();
  const cluster = runningCluster() ?? (await startCluster({ endsWithUs: false }));
  console.log(`cluster ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  console.log(`export KUBECONFIG=${cluster.state.kubeconfigFile}`);
}

function existing(): Cluster {
  return runningCluster() ?? fail('no cluster is running; start one with: node scripts/cluster.ts up');
}

/** Runs a program in this one's place. */
function hand([program, ...rest]: readonly [string, ...string[]]): void {
  process.exitCode = spawnSync(program, rest, { stdio: 'inherit' }).status ?? 1;
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
