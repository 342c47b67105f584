import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Clock } from '../../core/clock.ts';
import type { Source } from '../../core/current.ts';
import { compile, type PolicyChange, type Snapshot } from '../../policy/compile/snapshot.ts';
import type { Expressions } from '../../policy/expressions/expressions.ts';
import { hasExpression, loadAllExpressions, NO_EXPRESSIONS } from '../../policy/expressions/load.ts';
import { policyKey, type Policy } from '../../policy/policy.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { AgentEntry } from '../cache/identities.ts';
import { CLOSED_SETTINGS, closedPolicy, policyNameOf } from './closed-policy.ts';
import type { Enforcement } from './enforcement.ts';
import { heldNamespaces } from './held-namespaces.ts';
import { SETTINGS, UNREADABLE, type AuthorizationSettings, type PolicyUpdate } from './policy-update.ts';
import { RequestAuthentications } from './request-authentications.ts';

export type { Enforcement } from './enforcement.ts';

// Compiling this many takes a few milliseconds; between two slices the agent serves.
const SLICE = 100;
const NO_METADATA: WorkloadMetadata = {};

/**
 * The policy in force; undefined until a CA has delivered one. An update is worked out by {@link prepare}, which changes
 * nothing, put in place by {@link swap} and told of by {@link announce}, so that entries can change at the same moment.
 *
 * @example
 * const next = await policy.prepare(update);
 * policy.swap(next); // from here on decided by
 * cache.apply(entries);
 * policy.announce();
 */
export class EnforcedPolicy implements Source<Enforcement | undefined> {
  readonly #clock: Clock;
  readonly #entries: () => Iterable<AgentEntry>;
  readonly #listeners = new Set<(value: Enforcement | undefined) => void>();
  #expressions: Expressions = NO_EXPRESSIONS;
  #value: Enforcement | undefined;
  #announced: Enforcement | undefined;

  /** @param entries the agent's, as they are now */
  constructor(clock: Clock, entries: () => Iterable<AgentEntry>) {
    this.#clock = clock;
    this.#entries = entries;
  }

  get value(): Enforcement | undefined {
    return this.#value;
  }

  subscribe(listener: (value: Enforcement | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * What is to be in force with this update. From a server that delivers no policy (it sends no settings), what there is stays, for
   * the namespaces that it is about. Loads the libraries for expressions where they are needed first. Call it for one update after
   * the other, before entries change.
   */
  async prepare(update: PolicyUpdate | undefined): Promise<Enforcement | undefined> {
    // What is only kept is no ground for changes: the CA may have left out others.
    const before = update?.isSnapshot === false && this.#value?.keptFor === undefined ? this.#value : undefined;
    const settings = update && settingsAfter(before, update);
    if (update === undefined || settings === undefined) return this.#kept();
    const snapshot = await this.#compile(before?.snapshot, update, settings);
    const workloads = workloadsAfter(before, update);
    return {
      snapshot,
      requestAuthentications: authenticationsAfter(before, update, settings),
      ...workloads,
      metadataOf: (spiffeId) => workloads.workloads.get(spiffeId.toString()) ?? NO_METADATA,
      unreadablePolicies: unreadableAfter(before?.unreadablePolicies, update.policies),
      settings,
      keptFor: undefined,
      revision: update.revision,
      syncedAtMs: this.#clock.nowMs(),
    };
  }

  /** Puts in place what {@link prepare} gave, without telling anybody. */
  swap(next: Enforcement | undefined): void {
    this.#value = next;
  }

  /** Tells the listeners, if there is something to tell. */
  announce(): void {
    const value = this.#value;
    if (value === this.#announced) return;
    this.#announced = value;
    for (const listener of this.#listeners) listener(value);
  }

  #kept(): Enforcement | undefined {
    if (this.#value === undefined || this.#value.keptFor !== undefined) return this.#value;
    return { ...this.#value, keptFor: heldNamespaces(this.#entries()) };
  }

  async #compile(
    before: Snapshot | undefined,
    update: PolicyUpdate,
    { defaultAction }: AuthorizationSettings,
  ): Promise<Snapshot> {
    const change = changeOf(update);
    const isNew = before === undefined || before.defaultAction !== defaultAction;
    const base = isNew ? compile([], { defaultAction, expressions: this.#expressions }) : before;
    const { set, deleted } = isNew && before !== undefined ? merged(before, change) : change;
    if (this.#expressions === NO_EXPRESSIONS && set.some(hasExpression)) this.#expressions = await loadAllExpressions();
    if (set.length === 0 && deleted.length === 0) return base;
    let snapshot = base.with({ deleted, set: set.slice(0, SLICE) }, this.#expressions);
    for (let start = SLICE; start < set.length; start += SLICE) {
      await nextTurn();
      snapshot = snapshot.with({ set: set.slice(start, start + SLICE) }, this.#expressions);
    }
    return snapshot;
  }
}

type Change = Required<PolicyChange>;

/** A name that changed loses what it was; a resource that cannot be read is stood for by a policy that denies. */
function changeOf({ policies }: PolicyUpdate): Change {
  const set: Policy[] = [];
  for (const [name, document] of policies) {
    if (document === UNREADABLE) set.push(closedPolicy(name));
    else if (document?.kind === 'policy') set.push(document.policy);
  }
  return { set, deleted: [...policies.keys()].map(policyNameOf) };
}

/** All policies of before, changed. */
function merged(before: Snapshot, { set, deleted }: Change): Change {
  const gone = new Set([...deleted, ...set.map(({ name }) => name)].map(policyKey));
  const kept = [...before.policies].filter(([key]) => !gone.has(key)).map(([, { source }]) => source);
  return { set: [...kept, ...set], deleted: [] };
}

function settingsAfter(
  before: Enforcement | undefined,
  { isSnapshot, settings }: PolicyUpdate,
): AuthorizationSettings | undefined {
  if (!settings.has(SETTINGS) || (before === undefined && !isSnapshot)) return before?.settings;
  const value = settings.get(SETTINGS);
  return value === UNREADABLE || value === undefined ? CLOSED_SETTINGS : value;
}

function authenticationsAfter(
  before: Enforcement | undefined,
  { policies }: PolicyUpdate,
  settings: AuthorizationSettings,
): RequestAuthentications {
  const isConcerned = [...policies.keys()].some((name) => name.startsWith('RequestAuthentication/'));
  if (before !== undefined && before.settings === settings && !isConcerned) return before.requestAuthentications;
  const all = new Map<string, RequestAuthentication>(before?.requestAuthentications.all);
  for (const [name, document] of policies) {
    if (document !== UNREADABLE && document?.kind === 'authentication') all.set(name, document.authentication);
    else all.delete(name);
  }
  return new RequestAuthentications(all, settings);
}

function workloadsAfter(
  before: Enforcement | undefined,
  { workloads: changed }: PolicyUpdate,
): Pick<Enforcement, 'workloads' | 'unreadableWorkloads'> {
  if (before !== undefined && changed.size === 0) {
    return { workloads: before.workloads, unreadableWorkloads: before.unreadableWorkloads };
  }
  const workloads = new Map(before?.workloads);
  for (const [id, metadata] of changed) {
    if (metadata === undefined || metadata === UNREADABLE) workloads.delete(id);
    else workloads.set(id, metadata);
  }
  return { workloads, unreadableWorkloads: unreadableAfter(before?.unreadableWorkloads, changed) };
}

function unreadableAfter(before: ReadonlySet<string> | undefined, changed: ReadonlyMap<string, unknown>): ReadonlySet<string> {
  const unreadable = new Set(before);
  for (const [name, value] of changed) {
    if (value === UNREADABLE) unreadable.add(name);
    else unreadable.delete(name);
  }
  return unreadable;
}
