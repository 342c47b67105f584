import type { KubeObject } from '../runtime/kubernetes/object.ts';
import { apiVersionOf, type ResourceType } from '../runtime/kubernetes/resource-types.ts';
import type { ObjectRef, Problem } from './ports.ts';
import { declarationKey } from './identity/declaration-store.ts';

/** An object that declares something, as far as its status is concerned. */
export interface DeclaredObject {
  readonly key: string;
  readonly type: ResourceType;
  readonly ref: ObjectRef;
  readonly generation: number;
  /** Whether its class is ours; the status of others is theirs to write. */
  readonly isOurs: boolean;
  /** Its status as it was last seen. */
  readonly status: unknown;
  /** Why its present specification is not in force: an earlier one may be. */
  readonly fault: Problem | undefined;
}

/** All objects that declare something, and which of them changed. */
export class DeclaredObjects {
  readonly #byKey = new Map<string, DeclaredObject>();
  #onChanged: (key: string) => void = () => {};

  /** Calls `listener` with the key of each object that comes, changes or goes. */
  onChanged(listener: (key: string) => void): void {
    this.#onChanged = listener;
  }

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): DeclaredObject | undefined {
    return this.#byKey.get(key);
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  put(object: DeclaredObject): void {
    this.#byKey.set(object.key, object);
    this.#onChanged(object.key);
  }

  remove(key: string): void {
    this.#byKey.delete(key);
    this.#onChanged(key);
  }
}

/** Names an object that was read, whether or not its specification is in order. */
export function refOf(type: ResourceType, { metadata }: KubeObject): ObjectRef {
  const namespace = type.namespaced ? (metadata.namespace ?? '') : '';
  return { kind: type.kind, namespace, name: metadata.name ?? '', uid: metadata.uid ?? '' };
}

/** The key of an object of a type, by its key in the source (`namespace/name` or `name`). */
export function declaredKey(type: ResourceType, sourceKey: string): string {
  const slash = sourceKey.indexOf('/');
  const [namespace, name] = slash === -1 ? ['', sourceKey] : [sourceKey.slice(0, slash), sourceKey.slice(slash + 1)];
  return declarationKey({ kind: type.kind, namespace, name });
}

/** What a Kubernetes Event or a status is about. */
export function subjectOf({ type, ref }: Pick<DeclaredObject, 'type' | 'ref'>): {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
} {
  const { kind, name, namespace, uid } = ref;
  return { apiVersion: apiVersionOf(type), kind, name, uid, ...(namespace === '' ? {} : { namespace }) };
}
