import { Health, HealthCheckResponse_ServingStatus } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectAgent, connectCa } from '../ca-connection.ts';
import type { CommandRun, Terminal } from '../command.ts';

/** `countersign ca healthcheck` and `countersign healthcheck` */
export const healthcheckCa: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  return report(connection, invocation.terminal);
};

/** `countersign agent healthcheck` */
export const healthcheckAgent: CommandRun = async (invocation) => {
  using connection = await connectAgent(invocation);
  return report(connection, invocation.terminal);
};

async function report(connection: GrpcConnection, terminal: Terminal): Promise<number> {
  // The header is asked for on an agent's public socket and harmless elsewhere.
  const { status } = await connection
    .client(Health)
    .check({ service: '' }, { headers: { 'workload.spiffe.io': 'true' }, timeoutMs: 5000 });
  const serving = status === HealthCheckResponse_ServingStatus.SERVING;
  terminal.write(`${serving ? 'serving' : 'not serving; its log and /readyz say why'}\n`);
  return serving ? 0 : 1;
}
