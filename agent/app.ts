import type { Clock } from '../core/clock.ts';
import { Current } from '../core/current.ts';
import { SpiffeWorkloadAPI } from '../proto/gen/spiffe/workload/workload_pb.ts';
import { addHealth } from '../runtime/grpc/health.ts';
import { addReflection } from '../runtime/grpc/reflection.ts';
import { GrpcServer } from '../runtime/grpc/server.ts';
import { listenUnix } from '../runtime/grpc/unix-listener.ts';
import type { RunningProcess } from '../runtime/lifecycle.ts';
import type { Logger } from '../runtime/log.ts';
import { Bundle } from '../spiffe/bundle.ts';
import { workloadApi } from './api/workload-api.ts';
import { loadBootstrapBundle } from './attest/bootstrap.ts';
import { createNodeAttestor } from './attest/node-attestor.ts';
import { NodeIdentity } from './attest/node-identity.ts';
import { StateFile } from './attest/state-file.ts';
import { IdentityCache, type CacheUpdate } from './cache/identity-cache.ts';
import { JwtSvidCache } from './cache/jwt-svid-cache.ts';
import type { AgentConfig } from './config.ts';
import { createCaIssuer } from './sync/ca-issuer.ts';
import { Synchronizer } from './sync/synchronizer.ts';
import { WorkloadAttestation, type Workload } from './workload-attest/attestation.ts';
import { createWorkloadAttestors } from './workload-attest/config.ts';

/** What an agent is made from. */
export interface AgentOptions {
  readonly config: AgentConfig;
  readonly clock: Clock;
  readonly log: Logger;
}

// Any process of the machine may connect: who it is decides what it gets.
const PUBLIC_SOCKET_MODE = 0o777;

/** Starts an agent: it serves at once, answering UNAVAILABLE until it has attested and synchronised. */
export async function startAgent(options: AgentOptions, signal: AbortSignal): Promise<RunningProcess> {
  const resources = new AsyncDisposableStack();
  const stop = new AbortController();
  resources.defer(() => stop.abort());
  const until = AbortSignal.any([signal, stop.signal]);
  const parts = createParts(options, resources);
  await serveWorkloads(options, parts, resources);
  return { ended: work(parts, until), [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

interface Parts {
  readonly node: NodeIdentity;
  readonly cache: IdentityCache;
  readonly jwtSvids: JwtSvidCache;
  readonly synchronizer: Synchronizer;
  readonly attestation: WorkloadAttestation;
}

function createParts({ config, clock, log }: AgentOptions, resources: AsyncDisposableStack): Parts {
  const { trustDomain, dataDir, server } = config;
  const node = resources.use(
    new NodeIdentity({
      trustDomain,
      server,
      attestor: createNodeAttestor(config.attestor),
      bootstrap: () => loadBootstrapBundle(config.bootstrap, trustDomain),
      state: new StateFile({ dataDir, trustDomain, keepsKey: config.keys.kind === 'disk' }),
      clock,
      log: log.child({ component: 'node' }),
    }),
  );
  const issuer = createCaIssuer(node.connection);
  const bundle = new Bundle({ trustDomain });
  const cache = resources.use(new IdentityCache({ bundle, issuer, clock, log: log.child({ component: 'cache' }) }));
  const jwtSvids = new JwtSvidCache({ issuer, clock, log: log.child({ component: 'cache' }) });
  const apply = (update: CacheUpdate): void => {
    cache.apply(update);
    node.updateBundle(cache.bundles.own);
  };
  const synchronizer = new Synchronizer({
    connection: node.connection,
    trustDomain,
    clock,
    log: log.child({ component: 'sync' }),
    apply,
    recover: (error, until) => node.recover(error, until),
  });
  const attestation = resources.use(
    new WorkloadAttestation({
      attestors: createWorkloadAttestors(config.workloadAttestors, clock),
      clock,
      log: log.child({ component: 'attestation' }),
    }),
  );
  return { node, cache, jwtSvids, synchronizer, attestation };
}

/** The agent's work in the background; rejects when it has lost its identity for good. */
async function work({ node, synchronizer }: Parts, signal: AbortSignal): Promise<void> {
  try {
    await node.start(signal);
    await Promise.all([node.keepRenewed(signal), synchronizer.run(signal)]);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function serveWorkloads(
  { config, clock, log }: AgentOptions,
  { cache, jwtSvids, attestation }: Parts,
  resources: AsyncDisposableStack,
): Promise<void> {
  const server = new GrpcServer<Workload>({
    clock,
    onError: (err, method) => log.error({ err, method }, 'rpc handler failed'),
  });
  resources.defer(() => server.close({ graceMs: 2_000 }));
  server.addService(SpiffeWorkloadAPI, workloadApi({ cache, jwtSvids, clock }));
  addHealth(server, new Current(true));
  addReflection(server);
  const { path } = config.listen.workload;
  const onAccept = (socket: Parameters<WorkloadAttestation['accept']>[0]): Workload => attestation.accept(socket);
  resources.use(await listenUnix(server, path, { mode: PUBLIC_SOCKET_MODE, onAccept }));
  log.info({ path }, 'workload api is served');
}
