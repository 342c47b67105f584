// The policy in force at an agent, set by a test, with the identities of the workloads that ask.
import type { EntitlementSource } from '../../agent/authz/destinations.ts';
import type { Enforcement } from '../../agent/authz/enforcement.ts';
import { RequestAuthentications } from '../../agent/authz/request-authentications.ts';
import type { WorkloadIdentities } from '../../agent/cache/identities.ts';
import { SelectorSet } from '../../agent/cache/selectors.ts';
import { Current } from '../../core/current.ts';
import { compile } from '../../policy/compile/snapshot.ts';
import { loadExpressions } from '../../policy/expressions/load.ts';
import type { DefaultAction, Destination } from '../../policy/model.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { testIdentity } from './stand-in-identities.ts';
import type { TestCa } from './test-ca.ts';

/** A workload that calls are made to. */
export type TestDestination = Destination & { readonly spiffeId: SpiffeId };

/** What is in force. */
export interface TestPolicy {
  /** Policy resources. */
  readonly policies: readonly object[];
  /** RequestAuthentication resources. */
  readonly authentications?: readonly object[];
  readonly defaultAction?: DefaultAction;
}

/** For what an authorizer is made from. */
export class EnforcedPolicies {
  readonly policy = new Current<Enforcement | undefined>(undefined);
  readonly identities: EntitlementSource = { entitlementsOf: (selectors) => this.#viewOf(selectors) };
  readonly #ca: TestCa;
  readonly #callers: ReadonlyMap<string, WorkloadMetadata>;
  readonly #views = new Map<string, Current<WorkloadIdentities>>();
  #destinations: readonly TestDestination[] = [];

  /** @param callers what is registered of callers, by SPIFFE ID */
  constructor(ca: TestCa, callers: ReadonlyMap<string, WorkloadMetadata> = new Map()) {
    this.#ca = ca;
    this.#callers = callers;
  }

  /** Puts policies in force; whoever asks has all the identities of `destinations`. */
  async enforce(
    destinations: readonly TestDestination[],
    { policies, authentications = [], defaultAction = 'deny' }: TestPolicy,
  ) {
    this.#destinations = destinations;
    this.#views.clear();
    const settings = { defaultAction, exchangeIssuer: undefined, exchangeJwksUri: undefined };
    const parsed = policies.map((each) => parsePolicy(each));
    const read = new Map(authentications.map((each, at) => [String(at), parseRequestAuthentication(each)]));
    this.policy.set({
      snapshot: compile(parsed, { defaultAction, expressions: await loadExpressions(parsed) }),
      requestAuthentications: new RequestAuthentications(read, settings),
      workloads: this.#callers,
      metadataOf: (id) => this.#callers.get(id.toString()) ?? {},
      unreadableWorkloads: new Set(),
      unreadablePolicies: new Set(),
      keptFor: undefined,
      settings,
      revision: 1n,
      syncedAtMs: 0,
    });
  }

  #viewOf(selectors: SelectorSet): Current<WorkloadIdentities> {
    const known = this.#views.get(selectors.key);
    if (known !== undefined) return known;
    const identities = this.#destinations.map(({ spiffeId, namespace, serviceAccount }) => {
      const { entry, ...identity } = testIdentity(this.#ca, spiffeId.path);
      const workload = {
        ...(namespace === undefined ? {} : { namespace }),
        ...(serviceAccount === undefined ? {} : { serviceAccount }),
      };
      return { ...identity, entry: { ...entry, spiffeId, workload } };
    });
    const entries = identities.map(({ entry }) => entry);
    const view = new Current<WorkloadIdentities>({
      identities,
      entries,
      pending: 0,
      bundle: this.#ca.bundle(),
      federatedBundles: new Map(),
    });
    this.#views.set(selectors.key, view);
    return view;
  }
}

/** Selectors given as texts, `type:value`. */
export function selectorSetOf(texts: Iterable<string>): SelectorSet {
  const parts = [...texts].map((text) => ({ type: text.split(':')[0] ?? '', value: text.slice(text.indexOf(':') + 1) }));
  return SelectorSet.of(parts);
}
