// A small mesh in the cluster: Envoys as sidecars, configured as docs/envoy.md has it, and a service with the middleware.
import { WORKLOAD_API } from './installation.ts';
import { podTemplate } from './pods.ts';
import type { TestPod } from './pods.ts';

const TYPE = 'type.googleapis.com/envoy';
const SOCKET = WORKLOAD_API.address.replace('unix://', '');
/** Where a sidecar takes calls from others. */
export const MESH_PORT = 8443;
const APPLICATION_PORT = 8080;

/** How a sidecar decides who may call its application. */
export type Enforcement = 'ext_authz' | 'rbac';

/** A service that a sidecar calls on behalf of its application. */
export interface Upstream {
  readonly name: string;
  readonly spiffeId: string;
  /** Such as `orders.shop.svc`. */
  readonly host: string;
  /** Where the application finds it, on the pod's own address. */
  readonly localPort: number;
}

const AGENT_CLUSTER = {
  name: 'agent',
  connect_timeout: '1s',
  type: 'STATIC',
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': `${TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
  load_assignment: {
    cluster_name: 'agent',
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: SOCKET } } } }] }],
  },
};

const FROM_AGENT = {
  resource_api_version: 'V3',
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: 'agent' } }],
  },
};

const TLS = {
  tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
  tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: FROM_AGENT }],
};

const DECIDERS: Readonly<Record<Enforcement, object>> = {
  ext_authz: {
    name: 'envoy.filters.http.ext_authz',
    typed_config: {
      '@type': `${TYPE}.extensions.filters.http.ext_authz.v3.ExtAuthz`,
      transport_api_version: 'V3',
      grpc_service: { envoy_grpc: { cluster_name: 'agent' }, timeout: '1s' },
      failure_mode_allow: false,
      encode_raw_headers: true,
    },
  },
  rbac: {
    name: 'countersign.dev/rbac-http',
    config_discovery: {
      config_source: FROM_AGENT,
      type_urls: [`${TYPE}.extensions.filters.http.rbac.v3.RBAC`],
      apply_default_config_without_warming: true,
      default_config: { '@type': `${TYPE}.extensions.filters.http.rbac.v3.RBAC`, rules: { action: 'ALLOW', policies: {} } },
    },
  },
};

const PATHS: Readonly<Record<Enforcement, object>> = {
  ext_authz: { normalize_path: false, merge_slashes: false, path_with_escaped_slashes_action: 'KEEP_UNCHANGED' },
  rbac: { normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: 'REJECT_REQUEST' },
};

/** An Envoy that takes mTLS calls for the application beside it, and calls others for it. */
export function sidecar(enforcement: Enforcement | undefined, upstreams: readonly Upstream[] = []): object {
  const inbound = enforcement === undefined ? [] : [inboundListener(enforcement)];
  return {
    node: { id: 'sidecar', cluster: 'mesh' },
    static_resources: {
      listeners: [...inbound, ...upstreams.map(outboundListener)],
      clusters: [AGENT_CLUSTER, applicationCluster(), ...upstreams.map(upstreamCluster)],
    },
  };
}

function inboundListener(enforcement: Enforcement): object {
  return {
    name: 'inbound',
    address: { socket_address: { address: '0.0.0.0', port_value: MESH_PORT } },
    filter_chains: [
      {
        filters: [manager('application', { http: [DECIDERS[enforcement]], paths: PATHS[enforcement] })],
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
            require_client_certificate: true,
            common_tls_context: { ...TLS, validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: FROM_AGENT } },
          },
        },
      },
    ],
  };
}

function outboundListener({ name, localPort }: Upstream): object {
  return {
    name: `to-${name}`,
    address: { socket_address: { address: '127.0.0.1', port_value: localPort } },
    filter_chains: [{ filters: [manager(name, { http: [], paths: {} })] }],
  };
}

function manager(cluster: string, { http, paths }: { readonly http: readonly object[]; readonly paths: object }): object {
  const router = { name: 'router', typed_config: { '@type': `${TYPE}.extensions.filters.http.router.v3.Router` } };
  return {
    name: 'http',
    typed_config: {
      '@type': `${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: cluster,
      ...paths,
      http_filters: [...http, router],
      route_config: {
        virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
      },
    },
  };
}

function applicationCluster(): object {
  return {
    name: 'application',
    type: 'STATIC',
    load_assignment: endpointsOf('application', '127.0.0.1', APPLICATION_PORT),
  };
}

function upstreamCluster({ name, host, spiffeId }: Upstream): object {
  return {
    name,
    type: 'STRICT_DNS',
    dns_lookup_family: 'V4_ONLY',
    load_assignment: endpointsOf(name, host, MESH_PORT),
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': `${TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext`,
        common_tls_context: {
          ...TLS,
          combined_validation_context: {
            default_validation_context: {
              match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: spiffeId } }],
            },
            validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: FROM_AGENT },
          },
        },
      },
    },
  };
}

function endpointsOf(name: string, address: string, port: number): object {
  const endpoint = { address: { socket_address: { address, port_value: port } } };
  return { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] };
}

/** The images that a pod of the mesh is made of. */
export interface MeshImages {
  readonly workload: string;
  readonly envoy: string;
}

const NODE = '/usr/bin/node';
const ANSWER = `require('node:http').createServer((q, s) => s.end(JSON.stringify(q.headers))).listen(${APPLICATION_PORT}, '127.0.0.1');`;

/** An application that answers with the headers that it got. */
export const ANSWERING: readonly string[] = [
  NODE,
  '-e',
  `${ANSWER} for (const s of ["SIGTERM", "SIGINT"]) process.on(s, () => process.exit());`,
];

/** A service with the middleware of the client library at the mesh's port. */
export const WITH_MIDDLEWARE: readonly string[] = [NODE, '/usr/lib/mesh-service.js', SOCKET, String(MESH_PORT)];

/** An application that calls each port of its pod, as often as it can, and prints a line whenever a status changes. */
export function watching(ports: Readonly<Record<string, number>>): readonly string[] {
  const source = `
    const http = require('node:http');
    const agent = new http.Agent({ keepAlive: true });
    const last = {};
    const note = (name, status) => {
      if (last[name] === status) return;
      last[name] = status;
      console.log(JSON.stringify({ name, status, atMs: Date.now() }));
    };
    const ask = (name, port) => {
      const again = (status) => { note(name, status); setTimeout(ask, 20, name, port); };
      http.get({ port, agent, path: '/orders/4711' }, (answer) => answer.resume().on('end', () => again(answer.statusCode)))
        .on('error', () => again(0));
    };
    for (const [name, port] of Object.entries(${JSON.stringify(ports)})) ask(name, port);
    for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit());`;
  return [NODE, '-e', source];
}

/** A Deployment of one pod with a sidecar, the sidecar's configuration in a ConfigMap, and what both need. */
export function meshed(pod: TestPod, envoyImage: string, config: object): readonly object[] {
  const name = `${pod.name}-envoy`;
  const { metadata, spec } = podTemplate({ ...pod, serviceAccount: pod.name });
  // The cast is sound: podTemplate makes this list.
  const containers = spec['containers'] as readonly object[];
  const { volumes, volumeMounts } = WORKLOAD_API;
  const command = ['/usr/bin/envoy', '-c', '/etc/envoy/envoy.json', '--concurrency', '1', '--disable-hot-restart'];
  const envoy = {
    name: 'envoy',
    image: envoyImage,
    command,
    volumeMounts: [...volumeMounts, { name: 'config', mountPath: '/etc/envoy' }],
  };
  const template = {
    metadata,
    spec: {
      ...spec,
      containers: [...containers, envoy],
      volumes: [...volumes, { name: 'config', configMap: { name } }],
    },
  };
  const selector = { matchLabels: { app: pod.name } };
  return [
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { 'envoy.json': JSON.stringify(config) } },
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: pod.name }, spec: { replicas: 1, selector, template } },
  ];
}
