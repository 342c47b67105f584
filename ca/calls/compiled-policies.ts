import type { Clock } from '../../core/clock.ts';
import { Snapshot } from '../../policy/compile/snapshot.ts';
import { hasExpression, loadAllExpressions, NO_EXPRESSIONS } from '../../policy/expressions/load.ts';
import type { Expressions } from '../../policy/expressions/expressions.ts';
import type { DefaultAction, PolicyName } from '../../policy/model.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import type { Policy } from '../../policy/policy.ts';
import { decodePolicy } from '../../policy/wire-policy.ts';
import type { Logger } from '../../runtime/log.ts';
import { Turns } from './turns.ts';

/** A resource as the registry has it. */
export interface PolicyDocument {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly document: string;
}

/** All resources that there are. */
export interface PolicyDocuments {
  /** Another one as soon as any of them is another. */
  readonly lastRevision: number;
  list(): Iterable<PolicyDocument>;
}

/** What {@link CompiledPolicies} are made of. */
export interface CompiledPoliciesOptions {
  readonly documents: PolicyDocuments;
  readonly defaultAction: DefaultAction;
  readonly clock: Clock;
  readonly log: Logger;
}

// Each next snapshot copies the index of all policies: few at a time take long in all, many hold the event loop.
const COMPILED_AT_ONCE = 250;

interface Known {
  readonly name: PolicyName;
  readonly document: string;
}

/** The policies of the registry, compiled: one snapshot, brought up to date when somebody asks, and only by what changed. */
export class CompiledPolicies {
  readonly #options: CompiledPoliciesOptions;
  readonly #known = new Map<string, Known>();
  #snapshot: Snapshot;
  #expressions: Expressions = NO_EXPRESSIONS;
  #revision = -1;
  #updating: Promise<unknown> = Promise.resolve();

  constructor(options: CompiledPoliciesOptions) {
    this.#options = options;
    this.#snapshot = Snapshot.of([], { defaultAction: options.defaultAction });
  }

  /** All policies as they are now. */
  current(): Promise<Snapshot> {
    if (this.#revision === this.#options.documents.lastRevision) return Promise.resolve(this.#snapshot);
    const updated = this.#updating.then(() => this.#update());
    this.#updating = updated.catch(() => undefined);
    return updated;
  }

  /** What `change` would make of a snapshot, with the libraries for expressions where it needs them. */
  async changed(
    snapshot: Snapshot,
    change: { readonly set: readonly Policy[]; readonly deleted: readonly PolicyName[] },
  ): Promise<Snapshot> {
    await this.#loadFor(change.set);
    return snapshot.with(change, this.#expressions);
  }

  async #update(): Promise<Snapshot> {
    const { documents, clock } = this.#options;
    const revision = documents.lastRevision;
    if (revision === this.#revision) return this.#snapshot;
    const now = new Map([...documents.list()].flatMap((each) => keyed(each)));
    const turns = new Turns(clock);
    const deleted = [...this.#known].filter(([key]) => !now.has(key));
    this.#snapshot = this.#snapshot.with({ deleted: deleted.map(([, { name }]) => name) });
    for (const [key] of deleted) this.#known.delete(key);
    let read: Policy[] = [];
    for (const [key, known] of now) {
      if (this.#known.get(key)?.document === known.document) continue;
      read.push(this.#read(known));
      this.#known.set(key, known);
      if (turns.isOver) await turns.next();
      if (read.length < COMPILED_AT_ONCE) continue;
      await this.#take(read);
      read = [];
      await turns.next();
    }
    await this.#take(read);
    this.#revision = revision;
    return this.#snapshot;
  }

  async #take(set: readonly Policy[]): Promise<void> {
    await this.#loadFor(set);
    this.#snapshot = this.#snapshot.with({ set }, this.#expressions);
  }

  async #loadFor(policies: readonly Policy[]): Promise<void> {
    if (this.#expressions !== NO_EXPRESSIONS || !policies.some(hasExpression)) return;
    this.#expressions = await loadAllExpressions();
  }

  /** One that cannot be read must not open anything: it denies all that it may be about, as at the agents. */
  #read({ name, document }: Known): Policy {
    try {
      return decodePolicy(document);
    } catch (err) {
      // It was read before it was stored: so by a newer release.
      this.#options.log.warn(
        { err, policy: `${name.namespace}/${name.name}` },
        'policy not readable; it counts as one that denies all',
      );
      const { kind, ...metadata } = name;
      return parsePolicy({ kind, metadata, spec: { action: 'DENY', rules: [{}] } });
    }
  }
}

function keyed({ kind, namespace, name, document }: PolicyDocument): readonly (readonly [string, Known])[] {
  if (kind !== 'AuthorizationPolicy' && kind !== 'ClusterAuthorizationPolicy') return [];
  return [[`${kind}/${namespace}/${name}`, { name: { kind, namespace, name }, document }]];
}
