import { sleep, systemClock } from '../../core/clock.ts';
import { parseDuration } from '../../core/duration.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectAgent, connectCa } from '../ca-connection.ts';
import type { CommandRun, Invocation } from '../command.ts';

const RETRY_MS = 50;

/** `countersign ca healthcheck` and `countersign healthcheck` */
export const healthcheckCa: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  return await report(connection, { terminal: invocation.terminal, waitMs: waitMs(invocation) });
};

/** `countersign agent healthcheck` */
export const healthcheckAgent: CommandRun = async (invocation) => {
  using connection = await connectAgent(invocation);
  return await report(connection, { terminal: invocation.terminal, waitMs: waitMs(invocation) });
};

async function report(
  connection: GrpcConnection,
  { terminal, ...rest }: Pick<Invocation, 'terminal'> & { readonly waitMs: number },
): Promise<number> {
  const deadlineMs = systemClock.monotonicMs() + rest.waitMs;
  for (;;) {
    const failure = await failureOf(connection);
    if (failure === undefined) {
      terminal.write('serving\n');
      return 0;
    }
    if (systemClock.monotonicMs() >= deadlineMs) {
      terminal.writeError(`not serving: ${failure}\n`);
      return 1;
    }
    await sleep(systemClock, RETRY_MS, terminal.signal);
  }
}

/** Why it does not serve; undefined when it does. */
async function failureOf(connection: GrpcConnection): Promise<string | undefined> {
  try {
    // The header is asked for on an agent's public socket and harmless elsewhere.
    const { status } = await connection
      .client(Health)
      .check({ service: '' }, { headers: { 'workload.spiffe.io': 'true' }, timeoutMs: 5000 });
    return status === HealthCheckResponse_ServingStatus.SERVING ? undefined : 'it says so itself; its log and /readyz say why';
  } catch (error) {
    return toIdentityError(error).message;
  }
}

function waitMs(invocation: Invocation): number {
  const wait = invocation.text('wait');
  return wait === undefined ? 0 : parseDuration(wait, '--wait').ms;
}
