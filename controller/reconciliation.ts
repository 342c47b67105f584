import type { Clock } from '../core/clock.ts';
import type { EntryReconciler } from './entries/entry-reconciler.ts';
import type { IdentityIndex } from './identity/identity-index.ts';
import type { KeptParts } from './identity/kept-parts.ts';
import type { PodLatency } from './pod-latency.ts';
import type { ResourceSource } from './sources/object-kind.ts';
import type { PodProblems } from './status/pod-problems.ts';
import type { StatusWriter } from './status/status-writer.ts';
import { turn } from './turns.ts';

/** What {@link Reconciliation} connects. */
export interface ReconciliationOptions {
  readonly index: IdentityIndex;
  readonly kept: Pick<KeptParts, 'takeLacking'>;
  readonly entries: Pick<EntryReconciler, 'enqueue'>;
  readonly statuses: Pick<StatusWriter, 'mark'>;
  readonly pods: Pick<PodProblems, 'mark'>;
  readonly source: Pick<ResourceSource, 'reload'>;
  readonly latency: PodLatency;
  readonly clock: Clock;
}

/**
 * Carries changes from the index to those whom they concern. What arrives together is looked at together: once for all events of
 * one turn of the event loop.
 */
export class Reconciliation {
  readonly #options: ReconciliationOptions;
  #isScheduled = false;
  #isOpen = false;
  #settled = Promise.withResolvers<void>();

  constructor(options: ReconciliationOptions) {
    this.#options = options;
  }

  /** Whether pods wait to be looked at: what declarations have come to so far is not the whole of it. */
  get isSettling(): boolean {
    return this.#isScheduled;
  }

  /** To be called after each event. */
  onEvent = (): void => {
    if (this.#isScheduled || !this.#isOpen) return;
    this.#isScheduled = true;
    setImmediate(() => this.#settle());
  };

  /** Begins to look at changes: everything is known once. Settles when it has been looked at. */
  open(): Promise<void> {
    this.#isOpen = true;
    this.onEvent();
    return this.#settled.promise;
  }

  #settle(): void {
    this.#isScheduled = false;
    const { index, entries, statuses, pods, latency, clock } = this.#options;
    const isMore = index.settle(turn(clock));
    entries.enqueue(index.takeChangedKeys());
    for (const key of index.takeChangedDeclarers()) statuses.mark(key);
    pods.mark(index.takeChangedPods());
    this.#reloadIfWider();
    if (isMore) return this.onEvent();
    latency.forgetUndeclared(index);
    this.#settled.resolve();
  }

  /** A template that reads more than is kept needs the objects again. */
  #reloadIfWider(): void {
    const { kept, source } = this.#options;
    const lacking = kept.takeLacking();
    if (lacking.length > 0) source.reload(lacking.map((of) => `${of}s`));
  }
}
