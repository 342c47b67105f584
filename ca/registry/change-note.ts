import { isNodeAlias } from '../model.ts';
import type { EntryGraph, EntryRecord } from './entry-graph.ts';

/** Collects whom a change of one entry concerns: the roots above it, and when it moved, the entries below it. */
export class ChangeNote {
  readonly roots = new Set<string>();
  readonly below = new Set<string>();
  readonly #graph: EntryGraph;
  readonly #moved: boolean;

  constructor(graph: EntryGraph, moved: boolean) {
    this.#graph = graph;
    this.#moved = moved;
  }

  look(record: EntryRecord | undefined): void {
    // Node aliases concern agents by their selectors, not by what is above them.
    if (record === undefined || isNodeAlias(record.entry)) return;
    for (const root of this.#graph.ancestors(record.entry.parentId.toString())) this.roots.add(root);
    if (!this.#moved) return;
    for (const { entry } of this.#graph.descendants([record.entry.spiffeId.toString()])) this.below.add(entry.id);
  }
}

/** Whether entries below it may have got other agents by the change. */
export function hasMoved(before: EntryRecord | undefined, after: EntryRecord | undefined): boolean {
  if (before === undefined || after === undefined) return true;
  return !before.entry.spiffeId.equals(after.entry.spiffeId) || !before.entry.parentId.equals(after.entry.parentId);
}

/** Whether an agent may need fewer federated bundles by the change. */
export function mayEndFederation(before: EntryRecord | undefined, after: EntryRecord | undefined): boolean {
  if (before === undefined) return false;
  if (hasMoved(before, after)) return true;
  return before.entry.federatesWith.some((name) => after?.entry.federatesWith.includes(name) !== true);
}

/** Whether there is a record and it is of a node alias. */
export function isAlias(record: EntryRecord | undefined): boolean {
  return record !== undefined && isNodeAlias(record.entry);
}
