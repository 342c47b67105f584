// The agent's authorizer in this process: policies as a test writes them, identities without a CA, a clock that the test moves.
import { createAuthorizer, type AuthorizerOptions } from '../../agent/authz/authorizer.ts';
import type { Authorizer, Check, Outcome } from '../../agent/authz/check.ts';
import type { DecidedCall } from '../../agent/authz/decided-call.ts';
import { EnforcedPolicy } from '../../agent/authz/enforced-policy.ts';
import { SETTINGS, type AuthorizationSettings, type PolicyDocument } from '../../agent/authz/policy-update.ts';
import type { AgentEntry, WorkloadIdentities } from '../../agent/cache/identities.ts';
import { SelectorSet } from '../../agent/cache/selectors.ts';
import { Current } from '../../core/current.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { policyKey } from '../../policy/policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { createLogger } from '../../runtime/log.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { ManualClock } from './manual-clock.ts';
import { TestCa } from './test-ca.ts';

export const ORDERS = parseSpiffeId('spiffe://example.org/orders');
export const CALLER = parseSpiffeId('spiffe://example.org/caller');

/** An entry of the agent, as far as authorization looks at it. */
export function agentEntry(id: string, path: string, workload: WorkloadMetadata = { namespace: 'shop' }): AgentEntry {
  return {
    id,
    spiffeId: parseSpiffeId(`spiffe://example.org${path}`),
    selectors: ['unix:uid:1000'],
    federatesWith: [],
    hint: '',
    admin: false,
    downstream: false,
    dnsNames: [],
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    revisionNumber: 0n,
    createdAtSeconds: 0,
    disableX509SvidPrefetch: false,
    jwtSvidIncludeJti: false,
    workload,
  };
}

/** Selectors as attestors give them; `type:value` texts. */
export function selectorSet(...texts: readonly string[]): SelectorSet {
  return SelectorSet.of(texts.map((text) => ({ type: text.split(':')[0] ?? '', value: text.slice(text.indexOf(':') + 1) })));
}

/** One workload, `/orders` of the namespace `shop` with the label `app=orders`, and who decides calls to it. */
export class AuthorizerRig {
  readonly clock = new ManualClock();
  readonly policy = new EnforcedPolicy(this.clock, () => this.identities.value.entries);
  readonly identities: Current<WorkloadIdentities>;
  readonly staleness = { value: false };
  readonly decided: DecidedCall[] = [];
  readonly asking = selectorSet('unix:uid:1000', 'k8s:pod-label:app:orders');
  readonly authorizer: Authorizer;
  #revision = 0n;

  constructor(options: Partial<AuthorizerOptions> = {}) {
    const entries = [agentEntry('orders', '/orders')];
    const bundle = TestCa.create().bundle();
    this.identities = new Current<WorkloadIdentities>({
      identities: [],
      entries,
      pending: 0,
      bundle,
      federatedBundles: new Map(),
    });
    this.authorizer = createAuthorizer({
      identities: { entitlementsOf: () => this.identities },
      policy: this.policy,
      staleness: this.staleness,
      keys: { keysOf: () => Promise.resolve([]) },
      clock: this.clock,
      log: createLogger({ level: 'fatal', name: 'agent' }),
      onDecided: (decided) => this.decided.push(decided),
      ...options,
    });
  }

  /** Puts these resources in force, and no others. */
  async enforce(resources: readonly object[], settings: Partial<AuthorizationSettings> = {}): Promise<void> {
    const next = await this.policy.prepare({
      isSnapshot: true,
      revision: ++this.#revision,
      policies: new Map(resources.map(documentOf)),
      workloads: new Map([[CALLER.toString(), { namespace: 'front', serviceAccount: 'web' }]]),
      settings: new Map([
        [SETTINGS, { defaultAction: 'deny', exchangeIssuer: undefined, exchangeJwksUri: undefined, ...settings }],
      ]),
    });
    this.policy.swap(next);
    this.policy.announce();
  }

  /** Asks about `GET /orders/1` of `/caller`. */
  ask({ target = '/orders/1', headers = {}, ...changes }: AskedCall = {}): Outcome | Promise<Outcome> {
    const request = { method: 'GET', target, authority: 'orders', headers: Object.entries(headers) };
    return this.authorizer.authorize({ point: 'http', asking: this.asking, sourceId: CALLER, request, ...changes });
  }
}

/** What of the call is another. */
export interface AskedCall extends Partial<Check> {
  readonly target?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function documentOf(resource: object): readonly [string, PolicyDocument] {
  if ('kind' in resource && resource.kind === 'RequestAuthentication') {
    const authentication = parseRequestAuthentication(resource);
    const { namespace, name } = authentication.meta;
    return [`RequestAuthentication/${namespace}/${name}`, { kind: 'authentication', authentication }];
  }
  const policy = parsePolicy(resource);
  return [policyKey(policy.name), { kind: 'policy', policy }];
}
