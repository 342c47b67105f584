import { GrpcServer } from '../../runtime/grpc/server.ts';
import type { RpcMetrics } from '../../runtime/metrics.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { ApiContext } from './api-context.ts';
import type { Authorizer } from './authorizer.ts';

/** What {@link createApiServer} needs. */
export interface ApiServerOptions extends Pick<ApiContext, 'clock' | 'log'> {
  readonly authorizer: Authorizer;
  readonly rpcMetrics: RpcMetrics;
  /** How old a connection may grow; 0: any age. */
  readonly maxAgeMs: number;
}

/** A gRPC server that decides each call by the access table, and counts and times it. */
export function createApiServer({ clock, log, authorizer, rpcMetrics, maxAgeMs }: ApiServerOptions): GrpcServer<Peer> {
  return new GrpcServer<Peer>({
    clock,
    maxAgeMs,
    authorize: (call) => authorizer.authorize(call),
    onCallEnd: ({ method, code, durationMs }) => {
      rpcMetrics.handled.inc({ method, code });
      rpcMetrics.seconds.observe({ method }, durationMs / 1000);
    },
    onError: (err, method) => log.error({ err, method }, 'rpc failed'),
  });
}
