// A CA in this process, on real sockets and with a real store: what the tests of its API talk to.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DescService } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { parseDocument } from 'yaml';
import { startCa, type Ca } from '../../ca/app.ts';
import { caConfig } from '../../ca/config.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { decode } from '../../core/decode.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { createLogger } from '../../runtime/log.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import type { TestKey } from './test-keys.ts';

/** What {@link RunningCa.start} may be told. */
export interface RunningCaOptions {
  readonly clock?: Clock;
  /** More lines of `ca.yaml`. */
  readonly yaml?: string;
  /** A folder from before, to start on the same data again. */
  readonly folder?: string;
}

/** How a client on TLS proves itself. */
export interface ClientIdentity {
  readonly chain: readonly Uint8Array[];
  readonly key: TestKey;
}

/** A CA that serves, with clients for it. */
export class RunningCa implements AsyncDisposable {
  readonly folder: string;
  readonly clock: Clock;
  readonly ca: Ca;
  readonly #ownsFolder: boolean;
  readonly #connections: GrpcConnection[] = [];
  readonly #admin: GrpcConnection;

  private constructor(folder: string, clock: Clock, ca: Ca, ownsFolder: boolean) {
    this.folder = folder;
    this.clock = clock;
    this.ca = ca;
    this.#ownsFolder = ownsFolder;
    this.#admin = this.#keep(connectGrpc({ target: { kind: 'unix', path: this.socket }, clock: systemClock }));
  }

  static async start({ clock = systemClock, yaml = '', folder }: RunningCaOptions = {}): Promise<RunningCa> {
    const home = folder ?? (await mkdtemp(join(tmpdir(), 'ca-')));
    const text = `
trustDomain: example.org
dataDir: ./data
listen: { grpc: "127.0.0.1:0", admin: "unix:./admin/api.sock", http: "127.0.0.1:0" }
keys: { kind: memory }
${yaml.includes('rateLimits:') ? '' : 'rateLimits: { attestation: 0, signing: 0 }'}
${yaml}`;
    const config = decode(caConfig(home), parseDocument(text).toJS());
    const log = createLogger({ level: process.env['CA_LOG'] === undefined ? 'fatal' : 'debug', name: 'ca' });
    return new RunningCa(home, clock, await startCa({ config, clock, log }), folder === undefined);
  }

  get socket(): string {
    return join(this.folder, 'admin', 'api.sock');
  }

  /** A client of a service on the private socket. */
  local<S extends DescService>(service: S): Client<S> {
    return this.#admin.client(service);
  }

  /** A connection over TLS, with a client certificate or without. */
  remote(identity?: ClientIdentity): GrpcConnection {
    return this.#keep(connectWithTls(this.ca.grpcPort, identity));
  }

  #keep(connection: GrpcConnection): GrpcConnection {
    this.#connections.push(connection);
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) connection[Symbol.dispose]();
    await this.ca[Symbol.asyncDispose]();
    if (this.#ownsFolder) await rm(this.folder, { recursive: true, force: true });
  }
}

/** A connection to a CA on this machine over TLS, with a client certificate or without. */
export function connectWithTls(port: number, identity?: ClientIdentity): GrpcConnection {
  const pem = identity && {
    certificatePem: identity.chain.map((der) => encodePem('CERTIFICATE', der)).join(''),
    privateKeyPem: identity.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
  const target = { kind: 'tcp', host: '127.0.0.1', port } as const;
  return connectGrpc({ target, clock: systemClock, tls: { verifyServer: () => {}, identity: () => pem } });
}
