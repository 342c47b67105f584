import type { Clock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import { Snapshot } from '../../policy/compile/snapshot.ts';
import type { SnapshotDraft } from '../../policy/compile/snapshot.ts';
import { hasExpression, loadAllExpressions, NO_EXPRESSIONS } from '../../policy/expressions/load.ts';
import type { Expressions } from '../../policy/expressions/expressions.ts';
import type { DefaultAction, PolicyName } from '../../policy/model.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { policyKey } from '../../policy/policy.ts';
import type { Policy } from '../../policy/policy.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { decodePolicy, decodeRequestAuthentication } from '../../policy/wire-policy.ts';
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

interface Known {
  readonly name: PolicyName;
  readonly document: string;
}

/** The policies of the registry, compiled: one snapshot, brought up to date when somebody asks, and only by what changed. */
export class CompiledPolicies {
  readonly #options: CompiledPoliciesOptions;
  #known: ReadonlyMap<string, Known> = new Map();
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

  /** The RequestAuthentications that there are. One that cannot be read says nothing that could be compared. */
  authentications(): readonly RequestAuthentication[] {
    const all = [...this.#options.documents.list()].filter(({ kind }) => kind === 'RequestAuthentication');
    return all.flatMap(({ document }) => {
      try {
        return [decodeRequestAuthentication(document)];
      } catch (error) {
        if (isIdentityError(error)) return [];
        throw error;
      }
    });
  }

  async #update(): Promise<Snapshot> {
    const { documents, clock } = this.#options;
    const revision = documents.lastRevision;
    if (revision === this.#revision) return this.#snapshot;
    const turns = new Turns(clock);
    // What is known is noted as a whole, at the end: another revision may be on its way while this one is compiled.
    const now = new Map<string, Known>();
    const draft = this.#snapshot.edit();
    // A copy: the registry goes on meanwhile.
    const all = [...documents.list()];
    for (const each of all) {
      if (turns.isOver) await turns.next();
      const name = nameOf(each);
      if (name === undefined) continue;
      const known = { name, document: each.document };
      now.set(policyKey(name), known);
      if (this.#known.get(policyKey(name))?.document !== known.document) await this.#compile(known, draft);
    }
    for (const [key, { name }] of this.#known) if (!now.has(key)) draft.delete(name);
    await turns.next();
    this.#snapshot = draft.finish();
    this.#known = now;
    this.#revision = revision;
    return this.#snapshot;
  }

  async #compile(known: Known, draft: SnapshotDraft): Promise<void> {
    const policy = this.#read(known);
    if (hasExpression(policy)) await this.#loadFor([policy]);
    draft.expressions = this.#expressions;
    draft.set(policy);
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

function nameOf({ kind, namespace, name }: PolicyDocument): PolicyName | undefined {
  return kind === 'AuthorizationPolicy' || kind === 'ClusterAuthorizationPolicy' ? { kind, namespace, name } : undefined;
}
