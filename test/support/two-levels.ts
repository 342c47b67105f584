// An Envoy at the edge and one before a service, mTLS between them, each with an agent of its own below one CA.
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { DaemonProcess } from './daemon-process.ts';
import { EchoServer } from './echo-server.ts';
import { httpFilter, RAW_PATHS } from './envoy-authz-rig.ts';
import { NORMAL_PATHS, rbacHttpFilter } from './envoy-rbac-rig.ts';
import { Envoy, envoyBinary, type EnvoyOptions } from './envoy.ts';
import { IssuerHost } from './token-rig.ts';
import { own, WholeSystem } from './whole-system.ts';

/** The two levels; each is a namespace, a service account and a SPIFFE ID of that name. */
export const LEVELS = ['edge', 'orders'] as const;
export type Level = (typeof LEVELS)[number];

/** By what a level's Envoy decides. */
export type Point = 'ext_authz' | 'rbac';

/** The SPIFFE ID of a level. */
export const idOf = (level: Level): string => `spiffe://example.org/${level}`;

const FILES = { agentYaml: 'attestor: { joinTokenFile: ./token }' };

/** What was decided at a level, as its agent's log has it. */
export interface LoggedDecision {
  readonly verdict: string;
  readonly reason: string;
  readonly source?: string;
  readonly destination: string;
  readonly path: string;
  readonly userIssuer?: string;
  readonly userHash?: string;
}

/** Both levels; dispose of them. */
export class TwoLevels implements AsyncDisposable {
  readonly system: WholeSystem;
  readonly #resources = new AsyncDisposableStack();
  readonly #agents = new Map<Level, DaemonProcess>();
  readonly #binaries = new Map<Level, string>();
  /** What the service itself got. */
  readonly echo: EchoServer;
  /** The Envoys before the service and, by what they decide by, at the edge. */
  readonly envoys = new Map<'orders' | Point, Envoy>();

  private constructor(system: WholeSystem, echo: EchoServer) {
    this.system = system;
    this.echo = echo;
    this.#resources.use(system);
    this.#resources.use(echo);
  }

  /** Starts a CA, two agents, the service's Envoy and two at the edge. */
  static async start(): Promise<TwoLevels> {
    const system = await WholeSystem.startCa({ ...FILES, caYaml: 'authorization: { default: deny }' });
    const levels = new TwoLevels(system, await EchoServer.start());
    writeFileSync(levels.hashKeyFile, `${randomBytes(32).toString('hex')}\n`);
    try {
      for (const level of LEVELS) await levels.#startAgent(level);
      const inner = await levels.#startEnvoy('orders', {
        downstream: { certificate: 'default', validation: 'ROOTCA' },
        filters: { http: [httpFilter()], manager: RAW_PATHS, plainUpstream: { port: levels.echo.port } },
      });
      levels.envoys.set('orders', inner);
      const upstream = { certificate: 'default', validation: 'ROOTCA', peer: idOf('orders'), port: inner.port };
      const points = {
        ext_authz: { http: [httpFilter()], manager: RAW_PATHS },
        rbac: { http: [rbacHttpFilter('DELTA_GRPC')], manager: NORMAL_PATHS },
      } as const;
      for (const point of ['ext_authz', 'rbac'] as const) {
        levels.envoys.set(point, await levels.#startEnvoy('edge', { upstream, filters: points[point] }));
      }
      return levels;
    } catch (error) {
      await levels[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The key of the users' hashes in both agents' logs. */
  get hashKeyFile(): string {
    return join(this.system.folder, 'hash.key');
  }

  envoy(name: 'orders' | Point): Envoy {
    const envoy = this.envoys.get(name);
    if (envoy === undefined) throw new Error(`there is no Envoy ${name}`);
    return envoy;
  }

  /** Puts one policy in the place of each level's, with the issuers whose tokens are needed there. */
  async declare(level: Level, spec: object, issuers: readonly object[] = []): Promise<void> {
    const kind = 'RequestAuthentication';
    const meta = { apiVersion: 'countersign.dev/v1alpha1', metadata: { name: 'calls', namespace: level } };
    const policy = parsePolicy({ ...meta, kind: 'AuthorizationPolicy', spec });
    const resources = [{ name: policy.name, document: encodePolicy(policy) }];
    const name = { kind, namespace: level, name: 'calls' };
    const admin = this.system.admin(Policies);
    if (issuers.length === 0) {
      await admin.setResources({ resources });
      await admin.deleteResources({ names: [name] });
      return;
    }
    const users = parseRequestAuthentication({ ...meta, kind, spec: { tokens: 'Required', issuers } });
    await admin.setResources({ resources: [...resources, { name, document: encodeRequestAuthentication(users) }] });
  }

  /** How often a level's agent has decided, and what. */
  decisionsAt(level: Level): readonly LoggedDecision[] {
    const lines = this.#agents.get(level)?.lines ?? [];
    // The cast is sound: lines of the decision log have these fields.
    return lines.filter((line) => line.includes('"call decided"')).map((line) => JSON.parse(line) as LoggedDecision);
  }

  /** A counter of an Envoy; 0 where it has none yet. */
  async counted(name: 'orders' | Point, counter: string): Promise<number> {
    const text = await this.envoy(name).admin(`/stats?filter=^${counter}$`);
    return Number(/: (\d+)/.exec(text)?.[1] ?? 0);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }

  async #startAgent(level: Level): Promise<void> {
    const { value: token } = await this.system.admin(Agent).createJoinToken({ ttl: 600 });
    const folder = join(this.system.folder, `agent-${level}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'token'), token);
    writeFileSync(join(folder, 'roots.pem'), IssuerHost.rootPem);
    const config = `
trustDomain: example.org
dataDir: ./data
server: "127.0.0.1:${this.system.grpcPort}"
bootstrap: { insecure: true }
attestor: { joinTokenFile: ./token }
workloadAttestors: { unix: {} }
listen: { workload: "unix:./api.sock", admin: "unix:./private/admin.sock" }
authorization:
  allowPrivateHosts: [localhost]
  webRootFiles: [./roots.pem]
  decisionLog: { sample: 1, recordsPerSecond: 1000, hashKeyFile: ${this.hashKeyFile} }
log: { level: info }
`;
    const agent = this.#resources.use(new DaemonProcess({ kind: 'agent', folder, config }));
    this.#agents.set(level, agent);
    await agent.logged('synchronised with the ca');
    await this.#register(level, token);
  }

  /** One user runs both Envoys: each is told by the path of its program. */
  async #register(level: Level, token: string): Promise<void> {
    const binary = join(this.system.folder, `envoy-${level}`);
    copyFileSync(await envoyBinary(), binary);
    this.#binaries.set(level, binary);
    const entry = {
      spiffeId: own(`/${level}`),
      parentId: own(`/spire/agent/join_token/${token}`),
      selectors: [{ type: 'unix', value: `path:${binary}` }],
      countersignWorkload: { namespace: level, serviceAccount: level },
    };
    const { results } = await this.system.admin(Entry).batchCreateEntry({ entries: [entry] });
    if (results[0]?.status?.code !== 0) throw new Error(`${level} was not registered`);
  }

  async #startEnvoy(level: Level, { filters, ...more }: Partial<EnvoyOptions>): Promise<Envoy> {
    const binary = this.#binaries.get(level) ?? '';
    const sdsSocket = join(this.system.folder, `agent-${level}`, 'api.sock');
    const manager = { ...filters?.manager, delayed_close_timeout: '0.02s' };
    const options = { binary, sdsSocket, protocol: 'DELTA_GRPC', filters: { ...filters, manager }, ...more } as const;
    return this.#resources.use(await Envoy.start(options));
  }
}
