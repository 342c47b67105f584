import type { Snapshot } from '../compile/snapshot.ts';
import { policiesAbout } from '../judgement.ts';
import { formatIpAddress } from '../match/ip.ts';
import type { Destination } from '../model.ts';
import { changeOf, verdictThen } from '../simulate.ts';
import type { Change, RecordedCall } from '../simulate.ts';
import { TokenDemands } from '../token-demands.ts';
import type { AuthenticationChange } from '../token-demands.ts';
import { PathTests } from './recorded-path.ts';

/** What would become of recorded calls. */
export interface Consequences {
  /** Were allowed, and would be denied. */
  readonly denied: readonly Change[];
  /** Were denied, and would be allowed. */
  readonly allowed: readonly Change[];
  /** Depend on what was not recorded. */
  readonly unknown: readonly Change[];
  /** Whether nobody would be cut off: nothing that was allowed would be denied, or may be. */
  readonly isHarmless: boolean;
}

/** What to compare. */
export interface ConsequencesOptions {
  readonly before: Snapshot;
  readonly after: Snapshot;
  readonly calls: Iterable<RecordedCall>;
  /** Counts policies of mode DryRun as enforced on the side of `after`. */
  readonly countsDryRun?: boolean;
  /** RequestAuthentications before and after, where they change. */
  readonly authentications?: AuthenticationChange;
}

/**
 * Compares two snapshots over recorded calls, without the calls to destinations about which both have the same policies.
 *
 * @example
 * consequencesOf({ before, after: before.with({ set: [policy] }), calls }).isHarmless;
 */
export function consequencesOf({ calls, ...options }: ConsequencesOptions): Consequences {
  const comparison = new Comparison(options);
  const changes = together([...calls].flatMap((recorded) => comparison.changeOf(recorded) ?? []));
  changes.sort((one, other) => other.recorded.count - one.recorded.count);
  const of = (verdict: string): readonly Change[] => changes.filter((change) => change.after.verdict === verdict);
  return { denied: of('deny'), allowed: of('allow'), unknown: of('unknown'), isHarmless: changes.every(isHarmlessChange) };
}

/** Changes that read the same, as one: their destinations differ in selectors only, such as those of two releases. */
function together(changes: readonly Change[]): Change[] {
  const groups = Map.groupBy(changes, changeKey);
  return [...groups.values()].flatMap(([first, ...rest]) => {
    if (first === undefined || rest.length === 0) return first ?? [];
    const all = [first, ...rest].map(({ recorded }) => recorded);
    const count = all.reduce((sum, each) => sum + each.count, 0);
    const lastSeenAtMs = Math.max(...all.map((each) => each.lastSeenAtMs));
    return { ...first, recorded: { ...first.recorded, count, lastSeenAtMs } };
  });
}

/** Equal for changes that read the same: of the same call but for the selectors of the workload that is called, and with the same outcome. */
export function changeKey({ recorded: { call }, before, after }: Change): string {
  const { source, destination, request, refused } = call;
  const { spiffeId, namespace, serviceAccount, port } = destination;
  return JSON.stringify([
    [source.spiffeId?.toString(), source.namespace, source.serviceAccount, source.address && formatIpAddress(source.address)],
    [spiffeId?.toString(), namespace, serviceAccount, port],
    [request?.method, request?.host, request?.path, request?.grpc, refused, call.unrecorded?.has('request.path')],
    [before.verdict, after.verdict, after.reason, after.policy, after.rule],
  ]);
}

/** Whether a change cuts nobody off: what was allowed is neither denied nor unknown afterwards. */
export function isHarmlessChange({ before, after }: Change): boolean {
  return after.verdict === 'allow' || (after.verdict === 'unknown' && before.verdict === 'deny');
}

/** Compares two snapshots call by call; what both say of a destination is worked out once. */
export class Comparison {
  readonly #options: Omit<ConsequencesOptions, 'calls'>;
  readonly #demands: TokenDemands | undefined;
  /** Undefined: both have the same policies about the destination. */
  readonly #paths = new Map<Destination, PathTests | undefined>();

  constructor(options: Omit<ConsequencesOptions, 'calls'>) {
    this.#options = options;
    this.#demands = options.authentications && new TokenDemands(options.authentications);
  }

  /** What becomes of a call; undefined: it is decided as before. */
  changeOf(recorded: RecordedCall): Change | undefined {
    const paths = this.#pathsOf(recorded);
    const change = paths && changeOf(paths.mark(recorded), this.#options);
    return this.#demands?.mayRefuse(recorded) === true ? this.#refused(recorded, change) : change;
  }

  /** Where policies do not deny, the user's token decides, which was not recorded. */
  #refused(recorded: RecordedCall, change: Change | undefined): Change | undefined {
    if (change?.after.verdict === 'deny') return change;
    const before = change?.before ?? verdictThen(this.#options.before, recorded);
    return before.verdict === 'deny' ? change : { recorded, before, after: { verdict: 'unknown', reason: 'token_required' } };
  }

  #pathsOf({ call: { destination }, lacksSelectors = false }: RecordedCall): PathTests | undefined {
    const { before, after, countsDryRun = false } = this.#options;
    if (this.#paths.has(destination)) return this.#paths.get(destination);
    const [was = [], is = []] = [before, after].map((snapshot) => policiesAbout(snapshot, destination, lacksSelectors));
    const all = new Set([...was, ...is]);
    const isChanged = countsDryRun || was.length !== is.length || all.size !== was.length;
    const paths = isChanged ? new PathTests([...all]) : undefined;
    this.#paths.set(destination, paths);
    return paths;
  }
}
