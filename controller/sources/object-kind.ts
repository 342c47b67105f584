import type { Source } from '../../core/current.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import type { ResourceType } from '../../runtime/kubernetes/resource-types.ts';

/** One kind of object that the controller follows. */
export interface ObjectKind {
  readonly type: ResourceType;
  /** A cluster may not serve it (yet): then there are none. */
  readonly optional: boolean;
  /** Takes what is kept of an object; the function that it gives back puts that under the object's key. */
  readonly read: (object: KubeObject) => (key: string) => void;
  /** The object of this key, `namespace/name` or `name`, is gone. */
  readonly remove: (key: string) => void;
}

/** Where objects come from: the API server, or a folder of files. */
export interface ResourceSource {
  /**
   * Puts everything that there is and follows it until the signal aborts.
   *
   * @returns when everything has been put once
   */
  follow(kinds: readonly ObjectKind[], signal: AbortSignal): Promise<void>;
  /** Puts the objects of these kinds again, because more is kept of them than before. */
  reload(plurals: readonly string[]): void;
  /** Reads one object as it is now; undefined when it is not there. */
  read(type: ResourceType, name: { readonly namespace?: string; readonly name: string }): Promise<KubeObject | undefined>;
  /** Why changes are not seen at the moment; undefined while all is well. */
  readonly outage: Source<string | undefined>;
}
