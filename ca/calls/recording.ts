import type { Clock } from '../../core/clock.ts';
import type { DefaultAction } from '../../policy/model.ts';
import { policyKey } from '../../policy/policy.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { Logger } from '../../runtime/log.ts';
import type { CallKind } from './call-kind.ts';
import { CallRecorder } from './call-recorder.ts';
import { CallSimulation } from './call-simulation.ts';
import type { CallBatch, CallStore } from './call-store.ts';
import { CompiledPolicies } from './compiled-policies.ts';
import type { PolicyDocuments } from './compiled-policies.ts';
import { HitCounts } from './hit-counts.ts';
import { Destinations } from './recorded-calls.ts';

/** What {@link CallRecording} is made of. */
export interface CallRecordingOptions {
  readonly store: CallStore;
  readonly documents: PolicyDocuments;
  readonly metadataOf: (spiffeId: string) => WorkloadMetadata | undefined;
  readonly defaultAction: DefaultAction;
  /** How long calls are kept, in milliseconds. */
  readonly keepMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Equal calls of a report, read and clamped. */
export interface RecordedReport extends Omit<CallBatch, 'calls'> {
  readonly calls: readonly { readonly kind: CallKind; readonly count: number; readonly lastSeenAtMs: number }[];
}

/** Calls as agents report them: kept, counted by policy, and judged again by policies that somebody thinks of. */
export class CallRecording implements AsyncDisposable {
  readonly counts: HitCounts;
  readonly simulation: CallSimulation;
  /** The policies of the registry, compiled. */
  readonly policies: CompiledPolicies;
  readonly #options: CallRecordingOptions;
  readonly #recorder: CallRecorder;
  readonly #destinations = new Destinations();
  #refused = 0;

  constructor(options: CallRecordingOptions) {
    const { store, clock, log, metadataOf } = options;
    this.#options = options;
    this.#recorder = new CallRecorder(options);
    this.policies = new CompiledPolicies(options);
    this.counts = new HitCounts({ store, clock, log });
    this.simulation = new CallSimulation({ calls: store, policies: this.policies, clock, metadataOf });
  }

  /** What is decided where no ALLOW policy is about the destination. */
  get defaultAction(): DefaultAction {
    return this.#options.defaultAction;
  }

  /** Calls since the start, by what became of them. */
  get totals(): Readonly<Record<'stored' | 'folded' | 'refused', number>> {
    return { ...this.#recorder.totals, refused: this.#refused };
  }

  /** Counts calls that were not taken, because their destination is no workload of the agent. */
  noteRefused(calls: number): void {
    this.#refused += calls;
  }

  /**
   * Resolves when a report is stored for good. Times are never after now, nor before what is kept: agents' clocks may be wrong.
   *
   * @throws IdentityError `unavailable`, `resource_exhausted`: the same batch may come again
   */
  async record({ agentId, batchId, calls }: RecordedReport): Promise<void> {
    const { clock, metadataOf, keepMs } = this.#options;
    const nowMs = clock.nowMs();
    const read = calls.map(async ({ kind, count, lastSeenAtMs }) => ({
      kind,
      count,
      lastSeenAtMs: Math.min(nowMs, Math.max(lastSeenAtMs, nowMs - keepMs)),
      source: (kind.source === '' ? undefined : metadataOf(kind.source)) ?? {},
      wouldDenyPolicies: kind.wouldDeny ? await this.#wouldDeny(kind) : [],
    }));
    await this.#recorder.record({ agentId, batchId, calls: await Promise.all(read) });
    this.counts.noteStored();
  }

  /** Which policies of mode DryRun would have denied it: the one of the rule that matches, else those of which no rule does. */
  async #wouldDeny({ dryRunRule, destination }: CallKind): Promise<readonly string[]> {
    const snapshot = await this.policies.current();
    const isDryRun = (key: string): boolean => snapshot.policies.get(key)?.source.mode === 'DryRun';
    const key = dryRunRule && policyKey(dryRunRule.policy);
    // A rule of an enforced policy denies nothing that was allowed, unless a policy of mode DryRun lets it decide.
    if (key !== undefined && isDryRun(key)) return [key];
    const { policies } = snapshot.viewFor(this.#destinations.of(destination));
    return policies.filter(({ source }) => source.mode === 'DryRun' && source.action === 'ALLOW').map((each) => each.key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#recorder[Symbol.asyncDispose]();
    await this.counts[Symbol.asyncDispose]();
  }
}
