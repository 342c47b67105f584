import type { Clock } from '../../core/clock.ts';
import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { changeKey, Comparison, isHarmlessChange } from '../../policy/documents/affected-calls.ts';
import type { Destination, PolicyName } from '../../policy/model.ts';
import { policyKey } from '../../policy/policy.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Change, Simulated } from '../../policy/simulate.ts';
import { withAuthentications } from '../../policy/token-demands.ts';
import type { AuthenticationEdit } from '../../policy/token-demands.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { CountedKind } from './call-kind.ts';
import type { CallFilter, CallStore } from './call-store.ts';
import type { CompiledPolicies } from './compiled-policies.ts';
import { Destinations, recalled, RecalledCalls, together } from './recorded-calls.ts';
import { Turns } from './turns.ts';

/** What a {@link CallSimulation} needs. */
export interface CallSimulationOptions {
  readonly calls: CallStore;
  readonly policies: CompiledPolicies;
  readonly clock: Clock;
  /** What the registrations of an identity say of its workload; undefined: there are none, or they say nothing. */
  readonly metadataOf: (spiffeId: string) => WorkloadMetadata | undefined;
}

/** What to simulate. */
export interface SimulationRequest {
  readonly set: readonly Policy[];
  readonly deleted: readonly PolicyName[];
  /** RequestAuthentications that change too. */
  readonly authentications?: AuthenticationEdit;
  readonly countsDryRun: boolean;
  /** Only calls seen since, milliseconds since 1970. */
  readonly sinceMs: number;
  /** Changes to list at most. */
  readonly limit: number;
}

/** A kind of call whose verdict would be another. */
export interface SimulatedChange {
  readonly counted: CountedKind;
  readonly before: Simulated;
  readonly after: Simulated;
}

/** What a simulation came to. */
export interface SimulationResult {
  /** Calls that were looked at, and of how many kinds they are. */
  readonly calls: number;
  readonly kinds: number;
  readonly denied: number;
  readonly allowed: number;
  readonly unknown: number;
  readonly isHarmless: boolean;
  /** Those that were seen most often first. */
  readonly changes: readonly SimulatedChange[];
}

/** Judges recorded calls by policies as they would be; never holds the event loop for long. */
export class CallSimulation {
  readonly #options: CallSimulationOptions;
  readonly #destinations = new Destinations();

  constructor(options: CallSimulationOptions) {
    this.#options = options;
  }

  /** Recorded calls in parts, with what is known of their callers now. @throws IdentityError `unavailable` */
  async *recorded(filter: CallFilter): AsyncGenerator<readonly CountedKind[]> {
    for await (const kinds of this.#options.calls.list(filter)) yield kinds.map((each) => this.#withCaller(each));
  }

  #withCaller(counted: CountedKind): CountedKind {
    const { source } = counted.kind;
    const known = source === '' ? undefined : this.#options.metadataOf(source);
    return known === undefined ? counted : { ...counted, source: known };
  }

  /**
   * What would become of the recorded calls.
   *
   * @throws IdentityError `unavailable` when the store cannot be read
   */
  async simulate({ authentications, ...request }: SimulationRequest): Promise<SimulationResult> {
    const { set, deleted, countsDryRun, sinceMs, limit } = request;
    const { policies, clock } = this.#options;
    const before = await policies.current();
    const after = await policies.changed(before, { set, deleted });
    const tokens = authentications && withAuthentications(policies.authentications(), authentications);
    const names = [...set.map(({ name }) => name), ...deleted, ...namesOf(authentications)];
    const all = await this.#recall({ sinceMs, ...namespaceOf(names, countsDryRun) });
    const isConcerned = concern({ before, after, keys: [...set.map(({ name }) => name), ...deleted].map(policyKey) });
    const comparison = new Comparison({ before, after, countsDryRun, ...(tokens && { authentications: tokens }) });
    const isForAll = countsDryRun || tokens !== undefined;
    const tally = new Tally();
    const turns = new Turns(clock);
    for (const counted of all.values()) {
      tally.look(counted);
      const destination = this.#destinations.of(counted.kind.destination);
      if (isForAll || isConcerned(destination)) tally.note(counted, comparison.changeOf(recalled(counted, destination)));
      if (turns.isOver) await turns.next();
    }
    return tally.result(limit);
  }

  async #recall(filter: CallFilter): Promise<RecalledCalls> {
    const all = new RecalledCalls();
    for await (const kinds of this.recorded(filter)) for (const each of kinds) all.add(each);
    return all;
  }
}

function namesOf(edit: AuthenticationEdit | undefined): readonly { readonly namespace: string }[] {
  return edit === undefined ? [] : [...edit.set.map(({ meta }) => meta), ...edit.deleted];
}

/** The one namespace that a change is about: policies of the cluster may be about any. */
function namespaceOf(
  names: readonly { readonly namespace: string }[],
  countsDryRun: boolean,
): { readonly destinationNamespace?: string } {
  const namespaces = new Set(names.map(({ namespace }) => namespace));
  const [only = ''] = namespaces;
  return countsDryRun || namespaces.size !== 1 || only === '' ? {} : { destinationNamespace: only };
}

interface ConcernOptions {
  readonly before: Snapshot;
  readonly after: Snapshot;
  readonly keys: readonly string[];
}

/** Whether any policy of a change is about a destination, before or after; all others are decided as before. */
function concern({ before, after, keys }: ConcernOptions): (destination: Destination) => boolean {
  const changed = keys.flatMap((key) => [before.policies.get(key), after.policies.get(key)].flatMap((policy) => policy ?? []));
  const known = new Map<Destination, boolean>();
  return (destination) => {
    const answer = known.get(destination) ?? changed.some(({ target }) => target.selects(destination));
    known.set(destination, answer);
    return answer;
  };
}

/** What has come out so far. */
class Tally {
  #calls = 0;
  #kinds = 0;
  #isHarmless = true;
  readonly #counts = { deny: 0, allow: 0, unknown: 0 };
  /** By what they read like. */
  readonly #changes = new Map<string, SimulatedChange>();

  look({ count }: CountedKind): void {
    this.#calls += count;
    this.#kinds += 1;
  }

  /** Counts what becomes of a kind of call. */
  note(counted: CountedKind, change: Change | undefined): void {
    if (change === undefined) return;
    const { before, after } = change;
    this.#isHarmless &&= isHarmlessChange(change);
    const key = changeKey(change);
    const known = this.#changes.get(key);
    if (known === undefined) this.#counts[after.verdict] += 1;
    this.#changes.set(key, { counted: known === undefined ? counted : together(known.counted, counted), before, after });
  }

  result(limit: number): SimulationResult {
    const { deny, allow, unknown } = this.#counts;
    const changes = [...this.#changes.values()].sort((one, other) => other.counted.count - one.counted.count).slice(0, limit);
    const totals = { calls: this.#calls, kinds: this.#kinds, denied: deny, allowed: allow, unknown };
    return { ...totals, isHarmless: this.#isHarmless, changes };
  }
}
