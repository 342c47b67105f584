import type { Call } from '../../runtime/grpc/call.ts';
import { GrpcServer } from '../../runtime/grpc/server.ts';
import type { Logger } from '../../runtime/log.ts';
import type { RpcMetrics } from '../../runtime/metrics.ts';
import { describePeer, type Peer } from '../../runtime/peer.ts';
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
    authorize: (call) => loggingDenials(log, call, () => authorizer.authorize(call)),
    onCallEnd: ({ method, code, durationMs, peer }) => {
      rpcMetrics.handled.inc({ method, code });
      rpcMetrics.seconds.observe({ method }, durationMs / 1000);
      if (log.isLevelEnabled('debug')) log.debug({ method, code, durationMs, caller: describePeer(peer) }, 'rpc ended');
    },
    onError: (err, method) => log.error({ err, method }, 'rpc failed'),
  });
}

function loggingDenials(log: Logger, call: Call<Peer>, decide: () => void | Promise<void>): void | Promise<void> {
  const denied = (error: unknown): never => {
    const reason = error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : 'unknown';
    const fields = { method: call.method, caller: describePeer(call.peer), reason };
    // Who has no certificate can knock as often as it likes; that must not fill the log.
    if (call.peer.kind === 'anonymous') log.debug(fields, 'call denied');
    else log.info(fields, 'call denied');
    throw error;
  };
  try {
    return decide()?.catch(denied);
  } catch (error) {
    return denied(error);
  }
}
