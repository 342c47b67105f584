import type { NamespacesBelow } from './namespaces-below.ts';
import type { Policies, RevisedPolicy } from './policies.ts';
import { EMPTY_SCOPE, findPolicyGap, policiesIn, scopeOf } from './policy-scope.ts';
import type { FormerScope, PolicyGap, PolicyScope } from './policy-scope.ts';
import type { Workload, Workloads } from './workloads.ts';

/** The kinds that an agent may be sent besides entries and bundles. */
export type AuthorizationKind = 'policy' | 'workload';

/** What an agent has to change of what it needs for authorization. Empty lists of what it did not ask for. */
export interface AuthorizationDelta {
  /** An agent that has all up to this revision in force enforces what it has of policies. 0: what it has, it has for long. */
  readonly policyRevision: number;
  readonly policies: readonly RevisedPolicy[];
  /** Keys; may name what the agent never had. */
  readonly removedPolicies: readonly string[];
  /** In a snapshot: one list that all agents share, of which `workloads` and `removedWorkloads` say what changed since. */
  readonly sharedWorkloads?: readonly Workload[];
  readonly workloads: readonly Workload[];
  /** SPIFFE IDs; may name what the agent never had. */
  readonly removedWorkloads: readonly string[];
}

/** The registry as {@link AuthorizationWatch} reads it. */
export interface AuthorizationSources {
  readonly policies: Policies;
  readonly workloads: Workloads;
  readonly namespaces: NamespacesBelow;
}

/** In the index of watchers by namespace: those that have policies of all namespaces. */
export const ANY_NAMESPACE = '*';

const NO_GAP: PolicyGap = { put: [], removed: [] };
type WorkloadChanges = Pick<AuthorizationDelta, 'sharedWorkloads' | 'workloads' | 'removedWorkloads'>;
const NO_WORKLOADS: WorkloadChanges = { workloads: [], removedWorkloads: [] };

/** One agent's policies, and the workloads of everybody, as deltas. It remembers which namespaces the agent has the policies of. */
export class AuthorizationWatch {
  readonly #sources: AuthorizationSources;
  readonly #kinds: ReadonlySet<AuthorizationKind>;
  #scope = EMPTY_SCOPE;
  /** Up to where in the order of changes the agent was told. */
  #policyMark = 0;
  #workloadMark = 0;
  /** Versions of the namespaces that the scope is made of. */
  #madeOf = '';

  constructor(sources: AuthorizationSources, kinds: ReadonlySet<AuthorizationKind>) {
    this.#sources = sources;
    this.#kinds = kinds;
  }

  wants(kind: AuthorizationKind): boolean {
    return this.#kinds.has(kind);
  }

  /** The namespaces whose policies concern the agent, as of its last delta, or {@link ANY_NAMESPACE}. */
  get namespaces(): ReadonlySet<string> {
    return this.#scope.all ? new Set([ANY_NAMESPACE]) : this.#scope.namespaces;
  }

  snapshot(roots: ReadonlySet<string>): AuthorizationDelta {
    this.#updateScope(roots);
    this.#mark();
    const { policies, workloads } = this.#sources;
    const own = this.wants('policy') ? policiesIn(policies, this.#scope) : [];
    return {
      policyRevision: newestOf(own),
      policies: own,
      removedPolicies: [],
      ...(this.wants('workload') ? allOf(workloads) : NO_WORKLOADS),
    };
  }

  /** What an agent lacks that comes back, and was complete at a revision. */
  resume(roots: ReadonlySet<string>, since: number, former: Omit<FormerScope, 'changed'>): AuthorizationDelta {
    this.#updateScope(roots);
    const { policies, workloads } = this.#sources;
    const changes = this.#workloadChanges(workloads.changedSince(since), () => true);
    const delta = this.#delta(since, { ...former, changed: policies.changedSince(since) }, changes);
    // Whether anybody was told of what the agent had before it came back is not known.
    const own = this.wants('policy') ? policiesIn(policies, this.#scope) : [];
    return { ...delta, policyRevision: Math.max(delta.policyRevision, newestOf(own)) };
  }

  /** What changed since the last delta, which was of a revision. */
  next(roots: ReadonlySet<string>, since: number): AuthorizationDelta {
    const { policies, workloads } = this.#sources;
    // By place, not by revision: of one revision some may have been read only after the last delta.
    const changed = policies.changedSinceMark(this.#policyMark);
    const touched = workloads.changedSinceMark(this.#workloadMark);
    const before = this.#scope;
    this.#updateScope(roots);
    // Who was here all the time was told of what did not change since.
    const changes = this.#workloadChanges(touched, ({ revision }) => revision >= since);
    return this.#delta(since, { changed, surely: before, possibly: before }, changes);
  }

  #delta(since: number, former: FormerScope, workloads: WorkloadChanges): AuthorizationDelta {
    const { policies } = this.#sources;
    const { put, removed } = this.wants('policy') ? findPolicyGap(policies, this.#scope, former) : NO_GAP;
    const policyRevision = put.length === 0 ? 0 : Math.max(since + 1, newestOf(put));
    this.#mark();
    return { policyRevision, policies: put, removedPolicies: removed, ...workloads };
  }

  #mark(): void {
    this.#policyMark = this.#sources.policies.mark;
    this.#workloadMark = this.#sources.workloads.mark;
  }

  #workloadChanges(touched: Iterable<string>, isNew: (workload: Workload) => boolean): WorkloadChanges {
    if (!this.wants('workload')) return NO_WORKLOADS;
    const workloads: Workload[] = [];
    const removedWorkloads: string[] = [];
    for (const spiffeId of touched) {
      const workload = this.#sources.workloads.get(spiffeId);
      if (workload === undefined) removedWorkloads.push(spiffeId);
      else if (isNew(workload)) workloads.push(workload);
    }
    return { workloads, removedWorkloads };
  }

  #updateScope(roots: ReadonlySet<string>): void {
    if (!this.wants('policy')) return;
    const parts = [...roots].map((root) => this.#sources.namespaces.of(root));
    const madeOf = parts.map(({ version }) => version).join();
    if (madeOf === this.#madeOf) return;
    this.#madeOf = madeOf;
    this.#scope = mergedScope(parts.map(({ names }) => names));
  }
}

function allOf(workloads: Workloads): WorkloadChanges {
  const { shared, changed, removed } = workloads.all();
  return { sharedWorkloads: shared, workloads: changed, removedWorkloads: removed };
}

function mergedScope(parts: readonly ReadonlySet<string>[]): PolicyScope {
  return scopeOf(new Set(parts.flatMap((names) => [...names])));
}

function newestOf(policies: readonly RevisedPolicy[]): number {
  let newest = 0;
  for (const { revision } of policies) newest = Math.max(newest, revision);
  return newest;
}
