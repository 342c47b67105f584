import { isIdentityError } from '../../core/errors.ts';
import type { NodeRecord, Problem } from '../ports.ts';
import { renderParentId } from './render-entry.ts';
import type { IdentitySettings } from './settings.ts';

/** A node, with the ID of the agent on it. */
export interface NodeState {
  readonly record: NodeRecord;
  /** Undefined when it cannot be rendered. */
  readonly parentId: string | undefined;
  /** Why it cannot be rendered. */
  readonly problem: Problem | undefined;
}

/** The nodes, by name. */
export class NodeStore {
  readonly #settings: IdentitySettings;
  readonly #byName = new Map<string, NodeState>();

  constructor(settings: IdentitySettings) {
    this.#settings = settings;
  }

  get(name: string): NodeState | undefined {
    return this.#byName.get(name);
  }

  /** @returns whether it says anything new */
  put(name: string, record: NodeRecord): boolean {
    const present = this.#byName.get(name)?.record;
    if (present !== undefined && sameObject(present, record)) return false;
    this.#byName.set(name, this.#stateOf(record));
    return true;
  }

  remove(name: string): void {
    this.#byName.delete(name);
  }

  #stateOf(record: NodeRecord): NodeState {
    try {
      return { record, parentId: renderParentId(record, this.#settings), problem: undefined };
    } catch (error) {
      if (!isIdentityError(error)) throw error;
      return { record, parentId: undefined, problem: { reason: 'RenderFailed', message: error.message } };
    }
  }
}

function sameObject({ object: one }: NodeRecord, { object: other }: NodeRecord): boolean {
  return one.trim === other.trim && JSON.stringify(one) === JSON.stringify(other);
}
