// An SDS service on a real socket with a stand-in of the cache behind it, and a client that speaks both protocols.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { pino } from 'pino';
import { SelectorSet } from '../../agent/cache/selectors.ts';
import type { SdsConfig } from '../../agent/sds/config.ts';
import { secretDiscovery } from '../../agent/sds/secret-discovery.ts';
import type { Workload } from '../../agent/workload-attest/attestation.ts';
import { systemClock } from '../../core/clock.ts';
import {
  type CertificateValidationContext,
  type TlsCertificate,
} from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { SecretSchema } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import {
  type SPIFFECertValidatorConfig,
  SPIFFECertValidatorConfigSchema,
} from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.ts';
import {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  type DiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { connectGrpc, toIdentityError } from '../../runtime/grpc-client.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import { listenUnix } from '../../runtime/grpc/unix-listener.ts';
import type { StandInIdentities } from './stand-in-identities.ts';

export const DEFAULT_SDS: SdsConfig = {
  defaultSvidName: 'default',
  defaultBundleName: 'ROOTCA',
  defaultAllBundlesName: 'ALL',
  disableSpiffeCertValidation: false,
};

const SELECTORS = SelectorSet.of([{ type: 'unix', value: 'uid:0' }]);
const WORKLOAD: Workload = {
  pid: process.pid,
  attest: () => SELECTORS,
  inspect: () => {
    throw new Error('not inspected');
  },
  [Symbol.dispose]: () => {},
};

/** What is needed to tell secrets apart. */
export interface ReadSecret {
  readonly name: string;
  readonly certificate: TlsCertificate | undefined;
  readonly validation: CertificateValidationContext | undefined;
  /** Trust domains of the SPIFFE validator, by name, with their PEM. */
  readonly domains: Readonly<Record<string, string>> | undefined;
}

/** A served socket; dispose of it. */
export interface SdsRig extends AsyncDisposable {
  readonly path: string;
  readonly logged: readonly string[];
  stream(): SdsStream<MessageInitShape<typeof DiscoveryRequestSchema>, DiscoveryResponse>;
  delta(): SdsStream<MessageInitShape<typeof DeltaDiscoveryRequestSchema>, DeltaDiscoveryResponse>;
  fetch(request: MessageInitShape<typeof DiscoveryRequestSchema>): Promise<DiscoveryResponse>;
}

export async function serveSds(identities: StandInIdentities, config: Partial<SdsConfig> = {}): Promise<SdsRig> {
  const folder = await mkdtemp(join(tmpdir(), 'sds-'));
  const path = join(folder, 's');
  const logged: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
  const server = new GrpcServer<Workload>({ clock: systemClock });
  server.addService(SecretDiscoveryService, secretDiscovery({ cache: identities, config: { ...DEFAULT_SDS, ...config }, log }));
  const listener = await listenUnix(server, path, { mode: 0o600, onAccept: () => WORKLOAD });
  const connection = connectGrpc({ target: { kind: 'unix', path }, clock: systemClock });
  const client = connection.client(SecretDiscoveryService);
  return {
    path,
    logged,
    stream: () => new SdsStream((requests) => client.streamSecrets(mapped(requests, DiscoveryRequestSchema))),
    delta: () => new SdsStream((requests) => client.deltaSecrets(mapped(requests, DeltaDiscoveryRequestSchema))),
    fetch: (request) => client.fetchSecrets(request),
    async [Symbol.asyncDispose]() {
      connection[Symbol.dispose]();
      await listener.close();
      await server.close({ graceMs: 0 });
      await rm(folder, { recursive: true });
    },
  };
}

async function* mapped<D extends typeof DiscoveryRequestSchema | typeof DeltaDiscoveryRequestSchema>(
  requests: AsyncIterable<MessageInitShape<D>>,
  schema: D,
) {
  for await (const request of requests) yield create(schema, request);
}

/** A stream of SDS on which requests go out when they are sent and responses are read one by one. */
export class SdsStream<Request, Response> {
  readonly #responses: AsyncIterator<Response>;
  readonly #queue: Request[] = [];
  #ended = false;
  #wake: () => void = () => {};

  constructor(open: (requests: AsyncIterable<Request>) => AsyncIterable<Response>) {
    this.#responses = open(this.#requests())[Symbol.asyncIterator]();
  }

  send(request: Request): this {
    this.#queue.push(request);
    this.#wake();
    return this;
  }

  /** The next response; rejects with the IdentityError that ended the stream. */
  async next(): Promise<Response> {
    try {
      const { value, done } = await this.#responses.next();
      if (done === true) throw new Error('the stream ended');
      return value;
    } catch (error) {
      throw toIdentityError(error);
    }
  }

  /** Half-closes the stream. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *#requests(): AsyncGenerator<Request> {
    for (;;) {
      const arrived = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      const request = this.#queue.shift();
      if (request !== undefined) yield request;
      else if (this.#ended) return;
      else await arrived;
    }
  }
}

/** The secrets of a response of either protocol, by name. */
export function secretsOf(response: DiscoveryResponse | DeltaDiscoveryResponse): ReadonlyMap<string, ReadSecret> {
  const secrets = response.resources.map((resource) => {
    const any = resource.$typeName === 'google.protobuf.Any' ? resource : resource.resource;
    const secret = any && anyUnpack(any, SecretSchema);
    if (secret === undefined) throw new Error('a resource is no secret');
    const certificate = secret.type.case === 'tlsCertificate' ? secret.type.value : undefined;
    const validation = secret.type.case === 'validationContext' ? secret.type.value : undefined;
    const config = validation?.customValidatorConfig?.typedConfig;
    const spiffe = config && anyUnpack(config, SPIFFECertValidatorConfigSchema);
    return { name: secret.name, certificate, validation, domains: spiffe && domainsOf(spiffe) };
  });
  return new Map(secrets.map((secret) => [secret.name, secret]));
}

function domainsOf({ trustDomains }: SPIFFECertValidatorConfig): Record<string, string> {
  return Object.fromEntries(trustDomains.map(({ name, trustBundle }) => [name, pemOf(trustBundle)]));
}

/** The text of a data source. */
export function pemOf(
  source: { readonly specifier: { readonly case?: string | undefined; readonly value?: unknown } } | undefined,
): string {
  const value = source?.specifier.value;
  return value instanceof Uint8Array ? Buffer.from(value).toString() : '';
}
