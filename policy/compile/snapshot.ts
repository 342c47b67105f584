import { NO_EXPRESSIONS } from '../expressions/load.ts';
import type { Expressions } from '../expressions/expressions.ts';
import type { DefaultAction, Destination, PolicyName } from '../model.ts';
import { policyKey } from '../policy.ts';
import type { Policy } from '../policy.ts';
import { compilePolicy } from './policy.ts';
import type { CompiledPolicy } from './policy.ts';
import { keysOf } from './target.ts';
import { viewOf } from './view.ts';
import type { View } from './view.ts';

/** What a snapshot is made with. */
export interface CompileOptions {
  /** What is decided where no ALLOW policy selects the destination; `audit` (allow, and say so) by default. */
  readonly defaultAction?: DefaultAction;
  /** From `loadExpressions`; needed as soon as a policy has a condition or a regular expression. */
  readonly expressions?: Expressions;
}

/** A change of the policies. */
export interface PolicyChange {
  readonly set?: readonly Policy[];
  readonly deleted?: readonly PolicyName[];
}

type Bucket = readonly CompiledPolicy[];

/** All policies, compiled. It never changes: {@link Snapshot.with} gives the next one, and compiles only what changed. */
export class Snapshot {
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  readonly defaultAction: DefaultAction;
  readonly #expressions: Expressions;
  readonly #byKey: ReadonlyMap<string, Bucket>;
  /** What applies to each destination, once it was asked for. */
  readonly #views = new WeakMap<Destination, View>();

  private constructor(
    { defaultAction, expressions }: Required<CompileOptions>,
    policies: ReadonlyMap<string, CompiledPolicy>,
    byKey: ReadonlyMap<string, Bucket>,
  ) {
    this.defaultAction = defaultAction;
    this.#expressions = expressions;
    this.policies = policies;
    this.#byKey = byKey;
  }

  /** The same as {@link compile}. */
  static of(policies: Iterable<Policy>, options: CompileOptions): Snapshot {
    const complete = { defaultAction: options.defaultAction ?? 'audit', expressions: options.expressions ?? NO_EXPRESSIONS };
    return new Snapshot(complete, new Map(), new Map()).with({ set: [...policies] });
  }

  /** The next snapshot. `expressions` replaces those that this one was made with. */
  with({ set = [], deleted = [] }: PolicyChange, expressions: Expressions = this.#expressions): Snapshot {
    const draft = this.edit(expressions);
    for (const name of deleted) draft.delete(name);
    for (const policy of set) draft.set(policy);
    return draft.finish();
  }

  /** Begins the next snapshot. What there is is copied once, however much changes. */
  edit(expressions: Expressions = this.#expressions): SnapshotDraft {
    const finish: Finish = (policies, byKey, last) =>
      new Snapshot({ defaultAction: this.defaultAction, expressions: last }, policies, byKey);
    return new SnapshotDraft({ policies: new Map(this.policies), index: new IndexDraft(this.#byKey), expressions, finish });
  }

  /** What applies to a destination, in the order of {@link comparePolicies}. */
  viewFor(destination: Destination): View {
    const known = this.#views.get(destination);
    if (known !== undefined) return known;
    const view = viewOf(this.#selecting(destination));
    this.#views.set(destination, view);
    return view;
  }

  #selecting(destination: Destination): CompiledPolicy[] {
    const found = new Set<CompiledPolicy>();
    for (const key of keysOf(destination)) {
      for (const policy of this.#byKey.get(key) ?? []) if (policy.target.selects(destination)) found.add(policy);
    }
    return [...found].sort(comparePolicies);
  }
}

type Finish = (
  policies: ReadonlyMap<string, CompiledPolicy>,
  byKey: ReadonlyMap<string, Bucket>,
  expressions: Expressions,
) => Snapshot;

interface DraftParts {
  readonly policies: Map<string, CompiledPolicy>;
  readonly index: IndexDraft;
  readonly expressions: Expressions;
  readonly finish: Finish;
}

/** The next snapshot in the making, for changes that are made in several steps. */
export class SnapshotDraft {
  readonly #parts: DraftParts;
  /** What policies are compiled with from now on. */
  expressions: Expressions;

  constructor(parts: DraftParts) {
    this.#parts = parts;
    this.expressions = parts.expressions;
  }

  /** Compiles a policy, in place of the one of its name. @throws IdentityError `failed_precondition` as {@link compile} */
  set(policy: Policy): void {
    const compiled = compilePolicy(policy, this.expressions);
    this.#drop(compiled.key);
    this.#parts.policies.set(compiled.key, compiled);
    this.#parts.index.add(compiled);
  }

  /** Takes a policy out; one that is not there counts as taken out. */
  delete(name: PolicyName): void {
    this.#drop(policyKey(name));
  }

  /** The snapshot. The draft is used up. */
  finish(): Snapshot {
    const { policies, index, finish } = this.#parts;
    return finish(policies, index.finish(), this.expressions);
  }

  #drop(key: string): void {
    const { policies, index } = this.#parts;
    const earlier = policies.get(key);
    if (earlier === undefined) return;
    policies.delete(key);
    index.remove(earlier);
  }
}

/** The policies found by each key, being changed: a list is copied when it is first touched. */
class IndexDraft {
  readonly #lists: Map<string, Bucket>;
  readonly #own = new Map<string, Set<CompiledPolicy>>();

  constructor(byKey: ReadonlyMap<string, Bucket>) {
    this.#lists = new Map(byKey);
  }

  add(policy: CompiledPolicy): void {
    for (const key of policy.target.keys) this.#listOf(key).add(policy);
  }

  remove(policy: CompiledPolicy): void {
    for (const key of policy.target.keys) this.#listOf(key).delete(policy);
  }

  finish(): ReadonlyMap<string, Bucket> {
    for (const [key, list] of this.#own) {
      if (list.size === 0) this.#lists.delete(key);
      else this.#lists.set(key, [...list]);
    }
    return this.#lists;
  }

  #listOf(key: string): Set<CompiledPolicy> {
    const known = this.#own.get(key);
    if (known !== undefined) return known;
    const own = new Set(this.#lists.get(key));
    this.#own.set(key, own);
    return own;
  }
}

/** The order in which policies decide: those of the cluster first, then by namespace and name. */
export function comparePolicies(
  { name: one }: Pick<CompiledPolicy, 'name'>,
  { name: other }: Pick<CompiledPolicy, 'name'>,
): number {
  return compareText(one.namespace, other.namespace) || compareText(one.name, other.name);
}

function compareText(one: string, other: string): number {
  return one === other ? 0 : one < other ? -1 : 1;
}

/**
 * Compiles policies. A policy that cannot be compiled in a part stands in the snapshot all the same, with its `problems`: it lets
 * nothing in and, where it denies, denies.
 *
 * @throws IdentityError `failed_precondition` when a policy has an expression and `expressions` is missing
 * @example
 * const snapshot = compile(policies, { defaultAction: 'deny', expressions: await loadExpressions(policies) });
 * const next = snapshot.with({ set: [changed], deleted: [{ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'old' }] });
 */
export function compile(policies: Iterable<Policy>, options: CompileOptions = {}): Snapshot {
  return Snapshot.of(policies, options);
}
