import type { Policy } from '../../policy/policy.ts';
import { matches } from '../../policy/schema/label-selector.ts';
import { declarationKey, precedenceOf } from '../identity/declaration-store.ts';
import type { Precedence } from '../identity/precedence.ts';
import type { NamespaceRecord } from '../ports.ts';
import { documentOf, type PolicyObject, type PolicyResourceName } from './policy-object.ts';

/** A resource that ought to be at the CA. */
export interface DesiredPolicy {
  readonly name: PolicyResourceName;
  readonly document: string;
  readonly declarer: Precedence;
  /** Whether it can only take away: such a one is put in force before the others, and taken out of force after them. */
  readonly isRestrictive: boolean;
}

interface State {
  readonly object: PolicyObject;
  readonly declarer: Precedence;
  /** Made when it is asked for. */
  document: string | undefined;
  /** Of a policy with a namespaceSelector: what it selects. */
  readonly namespaces: Set<string> | undefined;
}

/**
 * What objects and namespaces come to: the documents that ought to be at the CA. Plain state fed by events. Keys are those of
 * `declarationKey`, and of `policyKey`.
 */
export class PolicyIndex {
  readonly #owner: string;
  readonly #states = new Map<string, State>();
  /** Those with a namespaceSelector. */
  readonly #selecting = new Map<string, State>();
  /** Objects that cannot be read, and of which nothing earlier is known. */
  readonly #unreadable = new Set<string>();
  readonly #labels = new Map<string, NamespaceRecord['labels']>();
  #onChanged: (key: string) => void = () => {};

  /** @param owner the controller whose documents these are, such as `main` */
  constructor(owner: string) {
    this.#owner = owner;
  }

  /** Calls `listener` with the key of each resource that may have to be written. */
  onChanged(listener: (key: string) => void): void {
    this.#onChanged = listener;
  }

  get size(): number {
    return this.#states.size;
  }

  keys(): Iterable<string> {
    return this.#states.keys();
  }

  put(object: PolicyObject): void {
    const key = declarationKey(object.name);
    const namespaces = this.#selectedBy(object.policy);
    const declarer = precedenceOf({ kind: object.name.kind, meta: object.meta });
    const state = { object, declarer, document: undefined, namespaces };
    this.#states.set(key, state);
    if (namespaces === undefined) this.#selecting.delete(key);
    else this.#selecting.set(key, state);
    this.#unreadable.delete(key);
    this.#onChanged(key);
  }

  /**
   * Takes note of an object that cannot be read. What it was before stays in force: what is known here, else what is at the CA. To
   * take that away could open what it closed.
   */
  putUnreadable(key: string): void {
    if (!this.#states.has(key)) this.#unreadable.add(key);
  }

  remove(key: string): void {
    this.#states.delete(key);
    this.#selecting.delete(key);
    this.#unreadable.delete(key);
    this.#onChanged(key);
  }

  putNamespace({ name, labels }: NamespaceRecord): void {
    this.#labels.set(name, labels);
    this.#reselect(name, labels);
  }

  removeNamespace(name: string): void {
    this.#labels.delete(name);
    this.#reselect(name, undefined);
  }

  /** The object of a key as it is in force. */
  object(key: string): PolicyObject | undefined {
    return this.#states.get(key)?.object;
  }

  /** Whether there is an object of this key that says nothing: what is at the CA under its name is left alone. */
  isUnreadable(key: string): boolean {
    return this.#unreadable.has(key);
  }

  desired(key: string): DesiredPolicy | undefined {
    const state = this.#states.get(key);
    if (state === undefined) return undefined;
    const { object, declarer } = state;
    state.document ??= documentOf(this.#resolved(object, state.namespaces), this.#owner);
    return { name: object.name, document: state.document, declarer, isRestrictive: isRestrictive(object.policy) };
  }

  /** The document of an object that is not here (yet). */
  proposed(object: PolicyObject): string {
    return documentOf(this.#resolved(object, this.#selectedBy(object.policy)), this.#owner);
  }

  #resolved(object: PolicyObject, namespaces: ReadonlySet<string> | undefined): PolicyObject {
    if (object.policy === undefined || namespaces === undefined) return object;
    return { ...object, policy: { ...object.policy, namespaces: [...namespaces].sort() } };
  }

  #selectedBy(policy: Policy | undefined): Set<string> | undefined {
    const selector = policy?.namespaceSelector;
    if (selector === undefined) return undefined;
    const selected = Iterator.from(this.#labels).filter(([, labels]) => matches(selector, labels));
    return new Set(selected.map(([name]) => name));
  }

  #reselect(name: string, labels: NamespaceRecord['labels'] | undefined): void {
    for (const [key, state] of this.#selecting) {
      const selector = state.object.policy?.namespaceSelector;
      const isSelected = selector !== undefined && labels !== undefined && matches(selector, labels);
      if (isSelected === state.namespaces?.has(name)) continue;
      if (isSelected) state.namespaces?.add(name);
      else state.namespaces?.delete(name);
      state.document = undefined;
      this.#onChanged(key);
    }
  }
}

function isRestrictive(policy: Policy | undefined): boolean {
  return policy === undefined || policy.action === 'DENY';
}
