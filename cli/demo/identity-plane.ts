import { link, copyFile, constants, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { sleep, systemClock } from '../../core/clock.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import { Agent as AgentService } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry as EntryService } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { wireId } from '../entry-fields.ts';
import { replaceFile } from '../svid-files.ts';
import type { DemoProcess } from './processes.ts';

/** The trust domain of the demo. */
export const TRUST_DOMAIN = 'example.org';

/** The namespace that the services are registered with. */
export const NAMESPACE = 'shop';

/** Where everything of one demo lies. */
export class DemoFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get caConfig(): string {
    return join(this.path, 'ca.yaml');
  }

  get agentConfig(): string {
    return join(this.path, 'agent.yaml');
  }

  get caSocket(): string {
    return join(this.path, 'run/ca/admin.sock');
  }

  get workloadSocket(): string {
    return join(this.path, 'run/agent/public/api.sock');
  }

  /** Where services ask whether a call is allowed. */
  get authorizationSocket(): string {
    return join(this.path, 'run/agent/public/authz.sock');
  }

  /** Where the program of a service lies; its path is the selector that tells the services apart. */
  program(name: string): string {
    return join(this.path, 'bin', name);
  }

  /** Writes both configurations; `port` is where the CA listens for agents. */
  async writeConfigurations(port: number): Promise<void> {
    const ca = [
      `trustDomain: ${TRUST_DOMAIN}`,
      'dataDir: ./data/ca',
      `listen: { grpc: "127.0.0.1:${port}", admin: "unix:./run/ca/admin.sock", http: "127.0.0.1:0" }`,
      'store: { kind: sqlite }',
      'keys: { kind: disk }',
      'attestors: { joinToken: {} }',
      'log: { level: info }',
    ];
    const agent = [
      `trustDomain: ${TRUST_DOMAIN}`,
      'dataDir: ./data/agent',
      `server: "127.0.0.1:${port}"`,
      'bootstrap: { file: ./bundle.pem }',
      'attestor: { joinTokenFile: ./token }',
      'keys: { kind: disk }',
      'workloadAttestors: { unix: {} }',
      'listen:',
      '  workload: "unix:./run/agent/public/api.sock"',
      '  authz: "unix:./run/agent/public/authz.sock"',
      '  admin: "unix:./run/agent/private/admin.sock"',
      '  http: "127.0.0.1:0"',
      'log: { level: info }',
    ];
    await writeFile(this.caConfig, `${ca.join('\n')}\n`);
    await writeFile(this.agentConfig, `${agent.join('\n')}\n`);
  }

  /** Puts Node under a name of its own: a hard link where the file system allows it, else a copy. */
  async addProgram(name: string): Promise<void> {
    await mkdir(join(this.path, 'bin'), { recursive: true });
    await link(process.execPath, this.program(name)).catch(() =>
      copyFile(process.execPath, this.program(name), constants.COPYFILE_FICLONE),
    );
  }
}

/** Waits until a process answers its health check. @throws Error with its last words when it ended or takes too long */
export async function untilServing(socket: string, started: DemoProcess): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + 30_000;
  using connection = connectGrpc({ target: { kind: 'unix', path: socket }, clock: systemClock });
  while (started.child.exitCode === null && systemClock.monotonicMs() < deadlineMs) {
    if (await isServing(connection)) return;
    await sleep(systemClock, 50);
  }
  throw new Error(`${started.name} did not start:\n${started.lastWords()}`);
}

async function isServing(connection: GrpcConnection): Promise<boolean> {
  try {
    const { status } = await connection.client(Health).check({ service: '' }, { headers: { 'workload.spiffe.io': 'true' } });
    return status === HealthCheckResponse_ServingStatus.SERVING;
  } catch {
    return false;
  }
}

/** Gives the agent what it needs to attest: a join token and the bundle to trust first. Returns the agent's SPIFFE ID. */
export async function enrolAgent(folder: DemoFolder): Promise<string> {
  using connection = connectGrpc({ target: { kind: 'unix', path: folder.caSocket }, clock: systemClock });
  const { value: token } = await connection.client(AgentService).createJoinToken({ ttl: 600 });
  const { x509Authorities } = await connection.client(BundleService).getBundle({});
  await replaceFile(join(folder.path, 'token'), token, 0o600);
  await replaceFile(
    join(folder.path, 'bundle.pem'),
    x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join(''),
    0o644,
  );
  return `spiffe://${TRUST_DOMAIN}/spire/agent/join_token/${token}`;
}

/** Registers a service: whoever runs this program under this agent gets this identity, for a minute at a time. */
export async function registerService(folder: DemoFolder, agentId: string, name: string): Promise<void> {
  using connection = connectGrpc({ target: { kind: 'unix', path: folder.caSocket }, clock: systemClock });
  const { results } = await connection.client(EntryService).batchCreateEntry({
    entries: [
      {
        spiffeId: wireId(`spiffe://${TRUST_DOMAIN}/${name}`),
        parentId: wireId(agentId),
        selectors: [{ type: 'unix', value: `path:${folder.program(name)}` }],
        x509SvidTtl: 60,
        countersignWorkload: { namespace: NAMESPACE, serviceAccount: name },
      },
    ],
  });
  if (results[0]?.status?.code !== 0) throw new Error(`the CA refused the entry of ${name}: ${results[0]?.status?.message}`);
}
