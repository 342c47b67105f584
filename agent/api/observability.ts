import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import type { CallEnd } from '../../runtime/grpc/call.ts';
import type { CheckResult, Checks, HttpListener } from '../../runtime/http.ts';
import type { ListenAddress } from '../../runtime/config-file.ts';
import type { Histogram, Registry, RpcMetrics } from '../../runtime/metrics.ts';
import type { NodeIdentity } from '../attest/node-identity.ts';
import type { Enforcement } from '../authz/enforcement.ts';
import type { Staleness } from '../authz/staleness.ts';
import type { IdentityCache } from '../cache/identity-cache.ts';
import type { JwtSvidCache } from '../cache/jwt-svid-cache.ts';
import type { Synchronizer } from '../sync/synchronizer.ts';

/** A part that adds its metrics to the others. */
export interface Metered {
  registerMetrics(registry: Registry): void | Promise<void>;
}

/** What health and metrics tell of. */
export interface ObservabilityOptions {
  readonly node: NodeIdentity;
  readonly cache: IdentityCache;
  readonly jwtSvids: JwtSvidCache;
  readonly synchronizer: Synchronizer;
  readonly policy: Source<Enforcement | undefined>;
  readonly staleness: Pick<Staleness, 'value' | 'ageMs'>;
  /** Parts that have metrics of their own. */
  readonly metered: readonly Metered[];
  readonly clock: Clock;
}

/** Health and metrics of the agent. Their libraries are loaded when they are served, after the workload socket is. */
export class Observability {
  readonly #options: ObservabilityOptions;
  #rpcs: RpcMetrics | undefined;
  #attestationSeconds: Histogram<'attestor' | 'outcome'> | undefined;
  #entryToSvidSeconds: Histogram | undefined;

  constructor(options: ObservabilityOptions) {
    this.#options = options;
  }

  /** Counts a call that ended. */
  readonly onCallEnd = ({ method, code, durationMs }: CallEnd<unknown>): void => {
    this.#rpcs?.handled.inc({ method, code });
    this.#rpcs?.seconds.observe({ method }, durationMs / 1000);
  };

  /** Times an attestor's answer about a caller. */
  readonly onAttested = (attestor: string, durationMs: number, ok: boolean): void => {
    this.#attestationSeconds?.observe({ attestor, outcome: ok ? 'ok' : 'failed' }, durationMs / 1000);
  };

  /** Times how long a new entry was without its X509-SVID. */
  readonly onEntryServed = (durationMs: number): void => {
    this.#entryToSvidSeconds?.observe(durationMs / 1000);
  };

  /** Serves `/livez`, `/readyz` and `/metrics`. */
  async serve(address: ListenAddress): Promise<HttpListener> {
    const { createMetrics, createRpcMetrics, gaugeOf, Histogram } = await import('../../runtime/metrics.ts');
    const { listenHttp } = await import('../../runtime/http.ts');
    const metrics = createMetrics();
    this.#rpcs = createRpcMetrics(metrics);
    this.#attestationSeconds = new Histogram({
      name: 'countersign_agent_attestation_seconds',
      help: 'Time that a workload attestor took to answer about a caller, in seconds',
      labelNames: ['attestor', 'outcome'],
      buckets: [0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.25, 1, 5, 30],
      registers: [metrics],
    });
    this.#entryToSvidSeconds = new Histogram({
      name: 'countersign_agent_entry_to_svid_seconds',
      help: 'Time from the arrival of a new entry to its X509-SVID being ready, in seconds',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers: [metrics],
    });
    for (const part of this.#options.metered) await part.registerMetrics(metrics);
    this.#describe((name, help, read) => gaugeOf(metrics, name, help, read));
    return listenHttp({ address, ready: this.checks, metrics });
  }

  /** Whether the agent can serve, and why not. */
  get checks(): Checks {
    return { attested: () => this.#attested(), synchronised: () => this.#synchronised(), policy: () => this.#policy() };
  }

  #describe(gauge: (name: string, help: string, read: () => number) => void): void {
    const { node, cache, jwtSvids, synchronizer } = this.#options;
    gauge('countersign_agent_entries', 'Registration entries of this agent', () => cache.counts.entries);
    gauge('countersign_agent_x509_svids', 'X509-SVIDs kept ready', () => cache.counts.x509Svids);
    gauge('countersign_agent_jwt_svids', 'JWT-SVIDs in the cache', () => jwtSvids.size);
    gauge('countersign_agent_connected', 'Whether the CA is being followed (1) or not (0)', () =>
      synchronizer.status.isConnected ? 1 : 0,
    );
    gauge('countersign_agent_last_sync_seconds', 'When the agent was last up to date, Unix time', () =>
      Math.floor(synchronizer.status.lastSyncMs / 1000),
    );
    this.#describePolicy(gauge);
    gauge('countersign_agent_svid_expiry_seconds', "When the agent's own SVID expires, Unix time", () =>
      Math.floor((node.svid.value?.leaf.notAfterMs ?? 0) / 1000),
    );
  }

  #describePolicy(gauge: (name: string, help: string, read: () => number) => void): void {
    const { policy, staleness } = this.#options;
    const ofPolicy = (name: string, help: string, read: (policy: Enforcement) => number): void =>
      gauge(`countersign_agent_${name}`, help, () => (policy.value === undefined ? 0 : read(policy.value)));
    ofPolicy('policy_revision', 'Revision of the policy in force; 0 for none', ({ revision }) => Number(revision));
    ofPolicy('policies', 'Policies in force, those that stand for unreadable ones too', ({ snapshot }) => snapshot.policies.size);
    ofPolicy('request_authentications', 'RequestAuthentications in force', (value) => value.requestAuthentications.all.size);
    ofPolicy('unreadable_policies', 'Policy resources that cannot be read and close what they may concern', (value) => {
      return value.unreadablePolicies.size;
    });
    gauge('countersign_agent_policy_age_seconds', 'Since when no CA has said that policy is current, in seconds', () =>
      Math.floor(staleness.ageMs / 1000),
    );
  }

  // Never a reason not to be ready: identities are served without policy.
  #policy(): CheckResult {
    const { policy, staleness } = this.#options;
    const { value } = policy;
    if (value === undefined) return { ok: true, reason: 'none: the CA has not delivered any; calls are denied' };
    const { snapshot, revision, unreadablePolicies } = value;
    const unreadable = unreadablePolicies.size === 0 ? '' : `, ${unreadablePolicies.size} of them unreadable`;
    const age =
      staleness.ageMs === 0 ? 'current' : `${staleness.value ? 'too old: ' : ''}not confirmed for ${seconds(staleness.ageMs)}`;
    return { ok: true, reason: `revision ${revision}, ${snapshot.policies.size} policies${unreadable}; ${age}` };
  }

  #attested(): CheckResult {
    const svid = this.#options.node.svid.value;
    if (svid === undefined) return { ok: false, reason: 'not attested by the CA yet; the log says what is missing' };
    const ok = svid.leaf.notAfterMs > this.#options.clock.nowMs();
    return { ok, reason: `${ok ? 'attested as' : 'expired:'} ${svid.id.toString()}` };
  }

  // An agent that has its entries can serve while the CA is away; the reason says that it is.
  #synchronised(): CheckResult {
    const { cache, synchronizer } = this.#options;
    const { isConnected, failure, mode } = synchronizer.status;
    const how = isConnected ? `follows the CA (${mode})` : (failure?.message ?? 'has not heard from the CA yet');
    return { ok: cache.ready, reason: how };
  }
}

function seconds(ms: number): string {
  return `${Math.floor(ms / 1000)} s`;
}
