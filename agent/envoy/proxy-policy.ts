import type { Source } from '../../core/current.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Destinations, KnownDestination } from '../authz/destinations.ts';
import type { Enforcement } from '../authz/enforcement.ts';
import { failsOpen } from '../authz/fails-open.ts';
import { isHeld } from '../authz/held-namespaces.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import type { SelectorSet } from '../cache/selectors.ts';

/** Where the policy in force is found. */
export interface PolicyInForce {
  /** Undefined until a CA has delivered one. */
  readonly policy: Source<Enforcement | undefined>;
  /** Whether it is too old to be relied upon. */
  readonly staleness: Source<boolean>;
  readonly destinations: Destinations;
}

/** What a proxy is configured by. */
export interface ProxyState {
  /** As what the proxy was attested. */
  readonly asking: SelectorSet;
  readonly identities: WorkloadIdentities;
}

/** What holds for a proxy: the policies of a destination, or one answer to everything. */
export type ProxyPolicy =
  | { readonly kind: 'policies'; readonly destination: KnownDestination; readonly enforcement: Enforcement }
  | { readonly kind: 'fixed'; readonly verdict: 'allow' | 'deny'; readonly reason: string };

/**
 * What holds for a proxy now, in the order in which a call is decided: is there policy for it, who is the destination, is policy
 * recent enough.
 *
 * @param named the identity that the proxy's configuration names; it must be one that the proxy was attested for
 */
export function policyOf(asking: SelectorSet, named: SpiffeId | undefined, inForce: PolicyInForce): ProxyPolicy {
  const enforcement = inForce.policy.value;
  if (enforcement === undefined) return denied('policy_missing');
  const destination = inForce.destinations.of(asking, named);
  if (typeof destination === 'string') return denied(destination);
  if (!isHeld(enforcement.keptFor, destination.namespace)) return denied('policy_missing');
  if (!inForce.staleness.value) return { kind: 'policies', destination, enforcement };
  const verdict = failsOpen(enforcement.snapshot, destination) ? 'allow' : 'deny';
  return { kind: 'fixed', verdict, reason: 'policy_stale' };
}

function denied(reason: string): ProxyPolicy {
  return { kind: 'fixed', verdict: 'deny', reason };
}

/** The state of a proxy, which changes with its identities and with the policy in force. */
export function proxyState(
  asking: SelectorSet,
  identities: Source<WorkloadIdentities>,
  inForce: Pick<PolicyInForce, 'policy' | 'staleness'> | undefined,
): Source<ProxyState> {
  return {
    get value() {
      return { asking, identities: identities.value };
    },
    subscribe(listener) {
      const tell = (): void => listener(this.value);
      const sources = [identities, ...(inForce === undefined ? [] : [inForce.policy, inForce.staleness])];
      const ends = sources.map((source) => source.subscribe(tell));
      return () => {
        for (const end of ends) end();
      };
    },
  };
}
