// The real agent in this process, attested by a real CA, on the machine's own clock.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startAgent } from '../../agent/app.ts';
import { parseAgentConfig } from '../../agent/config.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { createLogger } from '../../runtime/log.ts';
import type { RunningCa } from './running-ca.ts';

/** An agent that serves; dispose of it before its CA. */
export interface RunningTestAgent extends AsyncDisposable {
  /** Path of its SPIFFE ID, which the parent ID of its entries has. */
  readonly idPath: string;
  /** The workload socket. */
  readonly socket: string;
  /** The folder that relative paths of its configuration are of. */
  readonly folder: string;
  /** Undefined unless `listen.http` is configured. */
  readonly httpPort: number | undefined;
}

/** Starts an agent that attests with a join token of the CA; `config` replaces keys of `agent.yaml`. */
export async function startTestAgent(
  ca: RunningCa,
  config: Readonly<Record<string, unknown>> = {},
  clock: Clock = systemClock,
): Promise<RunningTestAgent> {
  const folder = await mkdtemp(join(tmpdir(), 'agent-'));
  const { value: token } = await ca.local(Agent).createJoinToken({ ttl: 600 });
  await writeFile(join(folder, 'token'), token);
  const yaml = {
    trustDomain: 'example.org',
    dataDir: './data',
    server: `127.0.0.1:${ca.ca.grpcPort}`,
    bootstrap: { insecure: true },
    attestor: { joinTokenFile: './token' },
    workloadAttestors: { unix: {} },
    listen: { workload: 'unix:./api.sock' },
    ...config,
  };
  const log = createLogger({ level: 'fatal', name: 'agent' });
  const options = { config: parseAgentConfig(yaml, folder), clock, log };
  const agent = await startAgent(options, new AbortController().signal);
  return {
    idPath: `/spire/agent/join_token/${token}`,
    socket: join(folder, 'api.sock'),
    folder,
    httpPort: agent.httpPort,
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
