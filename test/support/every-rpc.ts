// Every RPC of the CA, called without knowing what it is for.
import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { Health } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import { Admin } from '../../proto/gen/countersign/admin/v1/admin_pb.ts';
import { Node } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { Policies, Recording } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Debug } from '../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { Logger } from '../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { TrustDomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { systemClock } from '../../core/clock.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import type { ClientIdentity } from './running-ca.ts';

/** An RPC by its descriptors. */
export interface Rpc {
  /** `spire.api.server.entry.v1.Entry/GetEntry`. */
  readonly path: string;
  readonly service: DescService;
  readonly method: DescMethod;
}

/** The RPCs that the CA serves on its TLS listener. */
export const REMOTE_RPCS: readonly Rpc[] = rpcsOf([
  Agent,
  Bundle,
  Entry,
  LocalAuthority,
  SVID,
  TrustDomain,
  Node,
  Admin,
  Policies,
  Recording,
]);
/** The RPCs that the CA serves on its private socket alone. */
export const LOCAL_RPCS: readonly Rpc[] = rpcsOf([Logger, Debug, Health]);

/** All RPCs of some services. */
export function rpcsOf(services: readonly DescService[]): readonly Rpc[] {
  return services.flatMap((service) =>
    service.methods.map((method) => ({ path: `${service.typeName}/${method.name}`, service, method })),
  );
}

/** How a call may be made. */
export interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Calls an RPC with one request; of a stream the first answer. @throws what the call ended with */
export async function callRpc(
  connection: GrpcConnection,
  { service, method }: Rpc,
  request: unknown = {},
  options: CallOptions = {},
): Promise<unknown> {
  // The cast is sound: a client has a method for each of the service's, of the shape that its kind tells.
  const client = connection.client(service) as unknown as Record<string, (request: unknown, options: unknown) => unknown>;
  const isStreaming = method.methodKind === 'bidi_streaming' || method.methodKind === 'client_streaming';
  const stop = new AbortController();
  const { timeoutMs = 10_000, headers = {} } = options;
  const answer = client[method.localName]?.(isStreaming ? once(request) : request, { timeoutMs, headers, signal: stop.signal });
  if (method.methodKind === 'unary') return answer;
  // The cast is sound: the other kinds answer with a stream.
  for await (const response of answer as AsyncIterable<unknown>) {
    stop.abort();
    return response;
  }
  return undefined;
}

async function* once(request: unknown): AsyncGenerator {
  yield request;
}

/** A connection to a CA's TLS listener that accepts whatever answers. */
export function connectRemote(port: number, identity?: ClientIdentity): GrpcConnection {
  const pem = identity && {
    certificatePem: identity.chain.map((der) => encodePem('CERTIFICATE', der)).join(''),
    privateKeyPem: identity.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
  const target = { kind: 'tcp', host: '127.0.0.1', port } as const;
  return connectGrpc({ target, clock: systemClock, tls: { verifyServer: () => {}, identity: () => pem } });
}
