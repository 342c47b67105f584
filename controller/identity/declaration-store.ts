import type { ResourceMeta } from '../../policy/schema/resource-meta.ts';
import { indexLabelOf, matches } from '../../policy/schema/label-selector.ts';
import type { NamespaceRecord, ObjectRef } from '../ports.ts';
import type { CompiledDeclaration } from './compiled-declaration.ts';
import type { Precedence } from './precedence.ts';
import { RenderAccount } from './render-account.ts';
import type { DeclarationState } from './state.ts';

/** The key of a declaring object among all kinds. */
export function declarationKey({ kind, namespace, name }: Pick<ObjectRef, 'kind' | 'namespace' | 'name'>): string {
  return `${kind}/${namespace}/${name}`;
}

/** Who the object behind a declaration is, and its rank. */
export function precedenceOf({ kind, meta }: { readonly kind: string; readonly meta: ResourceMeta }): Precedence {
  const { namespace, name, uid, createdAtMs, deleting } = meta;
  return { kind, namespace, name, uid, createdAtMs, deleting };
}

/** A state with nothing selected yet. */
export function createDeclarationState(compiled: CompiledDeclaration): DeclarationState {
  const precedence = precedenceOf(compiled.declaration);
  return {
    key: declarationKey(precedence),
    compiled,
    precedence,
    namespaces: new Set(),
    pods: new Set(),
    renderFailures: 0,
    waiting: 0,
    account: new RenderAccount(compiled.declaration.kind),
    entriesToSet: 0,
    entriesMasked: 0,
    entriesReserved: 0,
  };
}

/** Whether the declaration selects pods of a namespace. */
export function selectsNamespace({ compiled }: DeclarationState, namespace: NamespaceRecord): boolean {
  const { kind, meta, namespaceSelector } = compiled.declaration;
  if (kind === 'WorkloadIdentity') return meta.namespace === namespace.name;
  return namespaceSelector === undefined || matches(namespaceSelector, namespace.labels);
}

/** Whether the declaration selects a pod, given that it selects the namespace. */
export function selectsLabels({ compiled }: DeclarationState, labels: Readonly<Record<string, string>>): boolean {
  const { podSelector } = compiled.declaration;
  return podSelector === undefined || matches(podSelector, labels);
}

/** Whether two states of an object have one specification: an API server counts the changes of it. */
export function isSameSpec(one: ResourceMeta, other: ResourceMeta): boolean {
  return (
    one.uid !== '' &&
    one.uid === other.uid &&
    one.generation > 0 &&
    one.generation === other.generation &&
    one.deleting === other.deleting
  );
}

/**
 * The declarations, so indexed that a pod meets few that do not select it: those of one namespace by the namespace, the others by
 * a label that their pods must have.
 */
export class DeclarationStore {
  readonly #byKey = new Map<string, DeclarationState>();
  /** By what {@link placesOf} says. */
  readonly #byPlace = new Map<string, Set<DeclarationState>>();

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): DeclarationState | undefined {
    return this.#byKey.get(key);
  }

  all(): Iterable<DeclarationState> {
    return this.#byKey.values();
  }

  put(state: DeclarationState): void {
    this.remove(state.key);
    this.#byKey.set(state.key, state);
    for (const place of placesOf(state)) {
      const peers = this.#byPlace.get(place);
      if (peers === undefined) this.#byPlace.set(place, new Set([state]));
      else peers.add(state);
    }
  }

  remove(key: string): DeclarationState | undefined {
    const state = this.#byKey.get(key);
    if (state === undefined) return undefined;
    this.#byKey.delete(key);
    for (const place of placesOf(state)) {
      const peers = this.#byPlace.get(place);
      peers?.delete(state);
      if (peers?.size === 0) this.#byPlace.delete(place);
    }
    return state;
  }

  /** The declarations that select a pod. */
  selecting(namespace: string, labels: Readonly<Record<string, string>>): readonly DeclarationState[] {
    const found: DeclarationState[] = [];
    const look = (place: string): void => {
      for (const state of this.#byPlace.get(place) ?? []) {
        if (state.namespaces.has(namespace) && selectsLabels(state, labels)) found.push(state);
      }
    };
    look(EVERYWHERE);
    look(`${NAMESPACE}${namespace}`);
    for (const label of Object.keys(labels)) look(`${LABEL}${label}=${labels[label]}`);
    return found;
  }
}

const EVERYWHERE = '';
const NAMESPACE = 'n/';
const LABEL = 'l/';

function placesOf({ compiled }: DeclarationState): readonly string[] {
  const { kind, meta, podSelector } = compiled.declaration;
  if (kind === 'WorkloadIdentity') return [`${NAMESPACE}${meta.namespace}`];
  const label = podSelector && indexLabelOf(podSelector);
  return label === undefined ? [EVERYWHERE] : [...new Set(label.values)].map((value) => `${LABEL}${label.key}=${value}`);
}
