// The agent as a user runs it: `countersign agent run` in a process of its own, attested by a CA with a join token.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { COMMAND, countersign } from './command.ts';

/** The CA that an agent attests to. */
export interface AgentHome {
  readonly grpcPort: number;
  connect(): GrpcConnection;
}

/** A running `countersign agent run`. */
export class AgentProcess implements AsyncDisposable {
  readonly folder: string;
  /** Its SPIFFE ID, which the parent ID of its entries is. */
  readonly id: string;
  readonly #child: ChildProcess;
  readonly #lines: string[];

  private constructor(started: { child: ChildProcess; lines: string[] }, folder: string, id: string) {
    this.folder = folder;
    this.id = id;
    this.#child = started.child;
    this.#lines = started.lines;
  }

  /** Starts an agent and waits until it serves. */
  static async start(ca: AgentHome, { trustDomain = 'example.org' } = {}): Promise<AgentProcess> {
    const folder = mkdtempSync(join(tmpdir(), 'agent-'));
    using admin = ca.connect();
    const { value: token } = await admin.client(Agent).createJoinToken({ ttl: 600 });
    writeFileSync(join(folder, 'token'), token);
    writeFileSync(
      join(folder, 'agent.yaml'),
      `trustDomain: ${trustDomain}
dataDir: ./data
server: "127.0.0.1:${ca.grpcPort}"
bootstrap: { insecure: true }
attestor: { joinTokenFile: ./token }
workloadAttestors: { unix: {} }
listen: { workload: "unix:./public/api.sock", admin: "unix:./private/admin.sock", http: "127.0.0.1:0" }
`,
    );
    const started = startAgent(join(folder, 'agent.yaml'));
    const agent = new AgentProcess(started, folder, `spiffe://${trustDomain}/spire/agent/join_token/${token}`);
    const { code } = await countersign(['agent', 'healthcheck', '--socket', agent.adminSocket, '--wait', '30s']);
    if (code === 0) return agent;
    await agent[Symbol.asyncDispose]();
    throw new Error(`the agent did not start:\n${agent.log}`);
  }

  get configFile(): string {
    return join(this.folder, 'agent.yaml');
  }

  get socket(): string {
    return join(this.folder, 'public', 'api.sock');
  }

  get adminSocket(): string {
    return join(this.folder, 'private', 'admin.sock');
  }

  /** Everything that it has logged. */
  get log(): string {
    return this.#lines.join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit');
      this.#child.kill('SIGTERM');
      await exited;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function startAgent(configFile: string): { child: ChildProcess; lines: string[] } {
  const child = spawn(process.execPath, [COMMAND, 'agent', 'run', '--config', configFile], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const lines: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  return { child, lines };
}
