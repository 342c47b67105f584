import type { PodRecord } from '../ports.ts';
import type { PodState } from './state.ts';

/** The pods, by every property that an event of something else names. */
export class PodStore {
  readonly #byKey = new Map<string, PodState>();
  readonly #byNamespace = new Map<string, Set<PodState>>();
  readonly #byNode = new Map<string, Set<PodState>>();
  readonly #byUid = new Map<string, PodState>();

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): PodState | undefined {
    return this.#byKey.get(key);
  }

  all(): Iterable<PodState> {
    return this.#byKey.values();
  }

  inNamespace(namespace: string): Iterable<PodState> {
    return this.#byNamespace.get(namespace) ?? [];
  }

  onNode(node: string): Iterable<PodState> {
    return this.#byNode.get(node) ?? [];
  }

  withUid(uid: string): PodState | undefined {
    return this.#byUid.get(uid);
  }

  put(key: string, record: PodRecord): PodState {
    const present = this.#byKey.get(key);
    const state: PodState = present ?? { key, record, outcomes: [] };
    if (present !== undefined) this.#unlink(present);
    state.record = record;
    this.#byKey.set(key, state);
    this.#byUid.set(record.uid, state);
    setOf(this.#byNamespace, record.namespace).add(state);
    if (record.nodeName !== undefined) setOf(this.#byNode, record.nodeName).add(state);
    return state;
  }

  remove(key: string): PodState | undefined {
    const state = this.#byKey.get(key);
    if (state === undefined) return undefined;
    this.#unlink(state);
    this.#byKey.delete(key);
    return state;
  }

  #unlink({ record, ...rest }: PodState): void {
    const state = this.#byKey.get(rest.key);
    if (state === undefined) return;
    if (this.#byUid.get(record.uid) === state) this.#byUid.delete(record.uid);
    dropFrom(this.#byNamespace, record.namespace, state);
    if (record.nodeName !== undefined) dropFrom(this.#byNode, record.nodeName, state);
  }
}

function setOf<T>(map: Map<string, Set<T>>, key: string): Set<T> {
  let set = map.get(key);
  if (set === undefined) map.set(key, (set = new Set()));
  return set;
}

function dropFrom<T>(map: Map<string, Set<T>>, key: string, value: T): void {
  const set = map.get(key);
  set?.delete(value);
  if (set?.size === 0) map.delete(key);
}

/** Whether an object is a later state of the same pod, which never moves to another node. */
export function isSuccessor(before: PodRecord, after: PodRecord): boolean {
  return before.uid === after.uid && (before.nodeName === undefined || before.nodeName === after.nodeName);
}

/** Whether both say the same of a pod. */
export function isSamePod(one: PodRecord, other: PodRecord): boolean {
  return (
    one.uid === other.uid &&
    one.nodeName === other.nodeName &&
    one.object.trim === other.object.trim &&
    JSON.stringify([one.labels, one.object.metadata, one.object.spec]) ===
      JSON.stringify([other.labels, other.object.metadata, other.object.spec])
  );
}
