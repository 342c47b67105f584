// SPIRE's own controller manager, when SPIRE_BIN names a folder that holds `spire-controller-manager` too.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { systemClock } from '../../core/clock.ts';
import { freePort } from './free-port.ts';
import { spireBinaries } from './spire.ts';

const binary = spireBinaries === undefined ? undefined : join(spireBinaries, 'spire-controller-manager');

/** Its path; undefined where it is not there. */
export const spireControllerManager: string | undefined = binary !== undefined && existsSync(binary) ? binary : undefined;

/** What it connects. */
export interface ControllerManagerOptions {
  readonly kubeconfigFile: string;
  /** The private socket of a SPIRE server, or of our CA. */
  readonly adminSocket: string;
}

/** A controller manager that runs; `startedMs` is monotonic time. */
export interface ControllerManager extends AsyncDisposable {
  readonly pid: number;
  readonly startedMs: number;
  /** Everything that it has logged. */
  log(): string;
}

/** Starts it, with trust domain `example.org` and cluster `main`. It answers nothing that says when it is ready. */
export async function startSpireControllerManager(folder: string, options: ControllerManagerOptions): Promise<ControllerManager> {
  mkdirSync(folder, { recursive: true });
  const [configFile, logFile] = [join(folder, 'config.yaml'), join(folder, 'manager.log')];
  const config = {
    apiVersion: 'spire.spiffe.io/v1alpha1',
    kind: 'ControllerManagerConfig',
    metrics: { bindAddress: `127.0.0.1:${await freePort()}` },
    health: { healthProbeBindAddress: `127.0.0.1:${await freePort()}` },
    leaderElection: { leaderElect: false },
    clusterName: 'main',
    clusterDomain: 'cluster.local',
    trustDomain: 'example.org',
    ignoreNamespaces: ['kube-system', 'countersign-system'],
    spireServerSocketPath: options.adminSocket,
    grpc: { maxCallRecvMsgSize: 512 * 1024 * 1024 },
    logLevel: 'error',
  };
  writeFileSync(configFile, JSON.stringify(config));
  const log = openSync(logFile, 'a');
  const startedMs = systemClock.monotonicMs();
  const env = { ...process.env, KUBECONFIG: options.kubeconfigFile, ENABLE_WEBHOOKS: 'false' };
  const child = spawn(spireControllerManager ?? '', ['--config', configFile], { env, stdio: ['ignore', log, log] });
  closeSync(log);
  return {
    pid: child.pid ?? 0,
    startedMs,
    log: () => readFileSync(logFile, 'utf8'),
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
