import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Checks, HttpListener } from '../../runtime/http.ts';
import type { ListenAddress } from '../../runtime/config-file.ts';
import type { RunningProcess } from '../../runtime/lifecycle.ts';
import type { Logger } from '../../runtime/log.ts';
import { openMounts } from '../../runtime/mounts.ts';
import { productVersion } from '../../runtime/version.ts';
import type { CsiConfig } from './config.ts';
import { Driver } from './driver.ts';
import { Volumes } from './volumes.ts';

/** What the CSI driver is made from. */
export interface CsiOptions {
  readonly config: CsiConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** Names the node (`nodeNameEnv`). */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** The CSI driver at work. Disposing of it takes it from the kubelet; what is mounted stays. */
export interface RunningCsi extends RunningProcess {
  readonly httpPort: number | undefined;
  readonly drivers: readonly Driver[];
}

/**
 * Starts the CSI driver.
 *
 * @throws IdentityError `invalid_argument` without a name of the node, `failed_precondition` when a socket is in use
 */
export async function startCsi({ config, clock, log, environment }: CsiOptions): Promise<RunningCsi> {
  await using resources = new AsyncDisposableStack();
  const { driverNames, socketFolder, kubeletFolder, pluginsFolder, registrationFolder } = config;
  const nodeName = config.nodeName ?? environment[config.nodeNameEnv] ?? '';
  if (nodeName === '') {
    const text = `the name of this node is not known; set nodeName, or the environment variable ${config.nodeNameEnv}`;
    throw new IdentityError('invalid_argument', text);
  }
  const volumes = new Volumes({ mounts: openMounts(), socketFolder, kubeletFolder });
  const shared = { version: productVersion(), nodeName, kubeletFolder, pluginsFolder, registrationFolder, volumes, clock, log };
  const drivers: Driver[] = [];
  for (const name of driverNames) drivers.push(resources.use(await Driver.start({ ...shared, name })));
  const http = config.listen.http && resources.use(await serveHealth(config.listen.http, drivers));
  log.info({ drivers: driverNames, socketFolder }, 'csi driver is served');
  const owned = resources.move();
  return { drivers, httpPort: http?.port, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function serveHealth(address: ListenAddress, drivers: readonly Driver[]): Promise<HttpListener> {
  const { createMetrics } = await import('../../runtime/metrics.ts');
  const { listenHttp } = await import('../../runtime/http.ts');
  const ready: Checks = Object.fromEntries(drivers.map((driver) => [driver.name, () => driver.registration]));
  return listenHttp({ address, ready, metrics: createMetrics() });
}
