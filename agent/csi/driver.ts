import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { Identity, Node } from '../../proto/gen/csi/v1/csi_pb.ts';
import { Registration } from '../../proto/gen/pluginregistration/registration_pb.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { listenUnix } from '../../runtime/grpc/unix-listener.ts';
import type { CheckResult } from '../../runtime/http.ts';
import type { Logger } from '../../runtime/log.ts';
import { nodeService } from './node-service.ts';
import type { Volumes } from './volumes.ts';

/** What one {@link Driver} needs. */
export interface DriverOptions {
  readonly name: string;
  readonly version: string;
  readonly nodeName: string;
  readonly kubeletFolder: string;
  /** Holds a folder for each driver, with its socket. */
  readonly pluginsFolder: string;
  /** Where the kubelet looks for plugins. */
  readonly registrationFolder: string;
  readonly volumes: Volumes;
  readonly clock: Clock;
  readonly log: Logger;
}

// Only the kubelet, which is root, has business here.
const SOCKET_MODE = 0o600;
const DRAIN_MS = 500;

/** A CSI driver under one name: its own socket, and the one by which the kubelet takes it up. */
export class Driver implements AsyncDisposable {
  readonly name: string;
  readonly #options: DriverOptions;
  readonly #resources = new AsyncDisposableStack();
  #registration: CheckResult = { ok: false, reason: 'the kubelet has not taken up the driver yet' };

  private constructor(options: DriverOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Serves the driver, then shows it to the kubelet. */
  static async start(options: DriverOptions): Promise<Driver> {
    const driver = new Driver(options);
    try {
      await driver.#serve();
      await driver.#register();
    } catch (error) {
      await driver[Symbol.asyncDispose]();
      throw error;
    }
    return driver;
  }

  /** Whether the kubelet has taken it up. */
  get registration(): CheckResult {
    return this.#registration;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }

  get #socketPath(): string {
    return join(this.#options.pluginsFolder, this.name, 'csi.sock');
  }

  async #serve(): Promise<void> {
    const { name, version } = this.#options;
    const server = this.#createServer();
    server.addService(Identity, {
      getPluginInfo: () => ({ name, vendorVersion: version }),
      getPluginCapabilities: () => ({}),
      probe: () => ({ ready: true }),
    });
    server.addService(Node, nodeService(this.#options));
    await this.#listen(server, this.#socketPath);
  }

  async #register(): Promise<void> {
    const { name, registrationFolder, log } = this.#options;
    const server = this.#createServer();
    server.addService(Registration, {
      getInfo: () => ({ type: 'CSIPlugin', name, endpoint: this.#socketPath, supportedVersions: ['1.0.0'] }),
      notifyRegistrationStatus: ({ pluginRegistered, error }) => {
        const reason = pluginRegistered ? 'the kubelet uses the driver' : `the kubelet refused the driver: ${error}`;
        this.#registration = { ok: pluginRegistered, reason };
        if (pluginRegistered) log.info({ driver: name }, 'the kubelet uses the driver');
        else log.error({ driver: name, reason: error }, 'the kubelet refused the driver');
        return {};
      },
    });
    await this.#listen(server, join(registrationFolder, `${name}-reg.sock`));
  }

  #createServer(): GrpcServer<undefined> {
    const { clock, log } = this.#options;
    const server = new GrpcServer<undefined>({
      clock,
      onCallEnd: ({ method, code, error }) => {
        if (error !== undefined) log.warn({ method, code, err: error }, 'rpc refused');
      },
      onError: (err, method) => log.error({ err, method }, 'rpc failed'),
    });
    this.#resources.defer(() => server.close({ graceMs: DRAIN_MS }));
    return server;
  }

  async #listen(server: GrpcServer<undefined>, path: string): Promise<void> {
    this.#resources.use(await listenUnix(server, path, { mode: SOCKET_MODE, onAccept: () => undefined }));
  }
}
