import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import type { Logger } from '../../runtime/log.ts';

/** The version that the agent tells the CA. */
const VERSION = '0.1.0';
const TIMEOUT_MS = 30_000;

/** Tells the CA which version runs here, once after the start. A CA that does not want to know is no failure. */
export async function postStatus(connection: GrpcConnection, log: Logger, signal: AbortSignal): Promise<void> {
  try {
    await connection.client(Agent).postStatus({ agentVersion: VERSION }, { signal, timeoutMs: TIMEOUT_MS });
  } catch (err) {
    if (!signal.aborted) log.debug({ err }, 'the ca did not take the status');
  }
}
