import { Current } from '../core/current.ts';
import { loadBootstrapBundle } from '../runtime/bootstrap-bundle.ts';
import { inClusterEnvironment } from '../runtime/kubernetes/access.ts';
import type { Logger as Log } from '../runtime/log.ts';
import { Bundle } from '../spiffe/bundle.ts';
import { Observability } from './api/observability.ts';
import type { Assembly } from './assembly.ts';
import { createNodeAttestor } from './attest/node-attestors.ts';
import { NodeIdentity } from './attest/node-identity.ts';
import { StateFile } from './attest/state-file.ts';
import { createAuthorization, createBooks, type Authorization } from './authorization-parts.ts';
import type { Bookkeeping } from './authz/bookkeeping.ts';
import { IdentityCache } from './cache/identity-cache.ts';
import { JwtSvidCache } from './cache/jwt-svid-cache.ts';
import { withdrawTainted } from './cache/tainted-keys.ts';
import { WitSvidCache } from './cache/wit-svid-cache.ts';
import { createCaIssuer } from './sync/ca-issuer.ts';
import type { SyncUpdate } from './sync/sync-target.ts';
import { Synchronizer, type SynchronizerOptions } from './sync/synchronizer.ts';
import { WorkloadAttestation } from './workload-attest/attestation.ts';
import { createWorkloadAttestors } from './workload-attest/config.ts';

/** What an agent consists of. */
export interface Parts {
  readonly node: NodeIdentity;
  readonly cache: IdentityCache;
  readonly jwtSvids: JwtSvidCache;
  readonly witSvids: WitSvidCache;
  readonly synchronizer: Synchronizer;
  readonly authorization: Authorization;
  readonly books: Bookkeeping;
  readonly attestation: WorkloadAttestation;
  readonly observability: Observability;
  readonly serving: Current<boolean>;
  readonly log: Log;
}

/** Makes the parts and connects them; nothing runs yet. What must be closed is in `resources`. */
export function createParts(options: Assembly, resources: AsyncDisposableStack): Parts {
  const { config, clock, log, levels } = options;
  const node = resources.use(createNode(options));
  const issuer = createCaIssuer(node.connection);
  const cacheLog = levels.component('cache');
  const bundle = new Bundle({ trustDomain: config.trustDomain });
  const onEntryServed = (durationMs: number): void => observability.onEntryServed(durationMs);
  const cache = resources.use(new IdentityCache({ bundle, issuer, clock, log: cacheLog, onEntryServed }));
  const jwtSvids = new JwtSvidCache({ issuer, clock, log: cacheLog });
  const witSvids = new WitSvidCache({ issuer, clock, log: cacheLog });
  resources.defer(withdrawTainted(cache.bundles, jwtSvids, witSvids));
  const serving = new Current(false);
  const authorization = createAuthorization(options, cache, resources);
  const { policy, staleness, issuerKeys, userTokens } = authorization;
  const books = resources.use(createBooks(options, node));
  for (const observer of books.observers) authorization.observers.add(observer);
  const apply = async (update: SyncUpdate): Promise<void> => {
    const next = await policy.prepare(update.policy);
    // From here on nothing waits: entries, bundles and policy change at one moment.
    policy.swap(next);
    cache.apply(update);
    node.updateBundle(cache.bundles.own);
    policy.announce();
    serving.set(cache.ready);
  };
  const synchronizer = createSynchronizer(options, node, {
    apply,
    onConnected() {
      cache.retrySigning();
      books.onConnected();
    },
    onPolicyFollowed: (isFollowed) => (isFollowed ? staleness.followed() : staleness.lost()),
  });
  const metered = [books, issuerKeys, userTokens];
  const observability = new Observability({ node, cache, jwtSvids, synchronizer, policy, staleness, metered, clock });
  const attestation = resources.use(createAttestation(options, observability));
  return { node, cache, jwtSvids, witSvids, synchronizer, authorization, books, attestation, observability, serving, log };
}

function createAttestation(
  { config, clock, levels, environment = {} }: Assembly,
  { onAttested }: Observability,
): WorkloadAttestation {
  const log = levels.component('attestation');
  const attestors = createWorkloadAttestors(config.workloadAttestors, { clock, log, environment });
  return new WorkloadAttestation({ attestors, clock, log, observe: onAttested });
}

function createNode({ config, clock, levels, environment = {} }: Assembly): NodeIdentity {
  const { trustDomain, dataDir, server } = config;
  const log = levels.component('node');
  const bootstrapping = { trustDomain, clock, log, inCluster: inClusterEnvironment(environment) };
  return new NodeIdentity({
    trustDomain,
    server,
    attestor: createNodeAttestor(config.attestor),
    bootstrap: (signal) => loadBootstrapBundle(config.bootstrap, { ...bootstrapping, signal }),
    state: new StateFile({ dataDir, trustDomain, keepsKey: config.keys.kind === 'disk' }),
    clock,
    log,
  });
}

function createSynchronizer(
  { config, clock, levels }: Assembly,
  node: NodeIdentity,
  target: Pick<SynchronizerOptions, 'apply' | 'onConnected' | 'onPolicyFollowed'>,
): Synchronizer {
  return new Synchronizer({
    connection: node.connection,
    trustDomain: config.trustDomain,
    clock,
    log: levels.component('sync'),
    ...target,
    recover: (error, signal) => node.recover(error, signal),
  });
}
