import type { PolicyResource } from '../model.ts';
import { RevisionLog } from './revision-log.ts';

/** A policy resource with the store's revision that made it what it is. */
export interface RevisedPolicy {
  /** `AuthorizationPolicy/shop/orders`. */
  readonly key: string;
  readonly policy: PolicyResource;
  readonly revision: number;
}

/** How many names of what is gone are remembered for agents that resume. */
const MAX_GONE = 50_000;

/** The resources that say who may call whom, by name and by namespace. */
export class Policies {
  readonly #records = new Map<string, RevisedPolicy>();
  readonly #byNamespace = new Map<string, Map<string, RevisedPolicy>>();
  readonly #log = new RevisionLog();
  #lastRevision = 0;

  get size(): number {
    return this.#records.size;
  }

  /** Revision of the last change of any of them; 0: none ever. */
  get lastRevision(): number {
    return this.#lastRevision;
  }

  /** Namespaces that have any; the empty one is that of cluster-wide ones. */
  get namespaces(): Iterable<string> {
    return this.#byNamespace.keys();
  }

  record(key: string): RevisedPolicy | undefined {
    return this.#records.get(key);
  }

  records(): Iterable<RevisedPolicy> {
    return this.#records.values();
  }

  list(): readonly PolicyResource[] {
    return [...this.#records.values()].map(({ policy }) => policy);
  }

  inNamespace(namespace: string): Iterable<RevisedPolicy> {
    return this.#byNamespace.get(namespace)?.values() ?? [];
  }

  /** Keys of what changed or went after a revision. */
  changedSince(revision: number): Iterable<string> {
    return this.#log.since(revision);
  }

  /** A place in the order of changes; see {@link changedSinceMark}. */
  get mark(): number {
    return this.#log.mark;
  }

  /** The same after a place in the order of changes: for who was told of all up to there. */
  changedSinceMark(mark: number): Iterable<string> {
    return this.#log.sinceMark(mark);
  }

  /** @param policy undefined: it is gone */
  put(key: string, policy: PolicyResource | undefined, revision: number): void {
    const before = this.#records.get(key);
    if (before !== undefined) this.#remove(key, before.policy.namespace);
    if (policy !== undefined) this.#add({ key, policy, revision });
    this.#log.touch(key, revision);
    this.#lastRevision = Math.max(this.#lastRevision, revision);
  }

  /** Drops what is remembered of the gone when that is too much. @returns the revision up to which that is unknown now, or 0 */
  forgetGone(): number {
    if (this.#log.size - this.#records.size <= MAX_GONE) return 0;
    return this.#log.forget((key) => !this.#records.has(key));
  }

  #add(record: RevisedPolicy): void {
    const { namespace } = record.policy;
    this.#records.set(record.key, record);
    let group = this.#byNamespace.get(namespace);
    if (group === undefined) this.#byNamespace.set(namespace, (group = new Map()));
    group.set(record.key, record);
  }

  #remove(key: string, namespace: string): void {
    this.#records.delete(key);
    const group = this.#byNamespace.get(namespace);
    group?.delete(key);
    if (group?.size === 0) this.#byNamespace.delete(namespace);
  }
}

/** The namespace in the key of a policy resource. */
export function namespaceOfKey(key: string): string {
  const start = key.indexOf('/') + 1;
  return key.slice(start, key.indexOf('/', start));
}
