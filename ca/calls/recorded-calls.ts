import type { Destination, RuleReference, Source } from '../../policy/model.ts';
import { policyKey } from '../../policy/policy.ts';
import { recordedCallOf } from '../../policy/documents/recorded-calls.ts';
import type { RecordedParts } from '../../policy/documents/recorded-calls.ts';
import type { NormalizedPath } from '../../policy/normalize/path.ts';
import { REFUSALS } from '../../policy/normalize/refusal.ts';
import type { RecordedCall } from '../../policy/simulate.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { CalledWorkload, CallKind, CountedKind } from './call-kind.ts';

/** Denials that policies decided; of others, such as for a missing token, policies change nothing. */
const BY_POLICIES: ReadonlySet<string> = new Set([
  'denied_by_rule',
  'no_rule_matches',
  'default_deny',
  'handshake_refused',
  ...REFUSALS,
]);

const MOST_DESTINATIONS = 20_000;

/** One object for each destination, as the engine wants it: what applies to one is worked out once. */
export class Destinations {
  #byText = new Map<string, Destination>();

  of(workload: CalledWorkload): Destination {
    const text = JSON.stringify(workload);
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    if (this.#byText.size >= MOST_DESTINATIONS) this.#byText = new Map();
    const made = destinationOf(workload);
    this.#byText.set(text, made);
    return made;
  }
}

function destinationOf({ spiffeId, namespace, serviceAccount, port, selectors }: CalledWorkload): Destination {
  return {
    spiffeId: parseSpiffeId(spiffeId),
    selectors: new Set(selectors),
    ...(namespace === '' ? {} : { namespace }),
    ...(serviceAccount === '' ? {} : { serviceAccount }),
    ...(port === 0 ? {} : { port }),
  };
}

/** What the engine is to judge of a kind of call. */
export function partsOf(counted: CountedKind, destination: Destination): RecordedParts {
  const { kind, source, count, lastSeenAtMs, isMixed = false } = counted;
  return {
    source: sourceOf(kind, source),
    destination,
    ...requestParts(kind),
    verdict: kind.verdict,
    isMixed,
    decidedBy: rulesOf(counted),
    count,
    lastSeen: lastSeenAtMs,
  };
}

function sourceOf({ source }: CallKind, metadata: WorkloadMetadata): Source {
  return source === '' ? {} : { spiffeId: parseSpiffeId(source), ...metadata };
}

function requestParts({ request, reason }: CallKind): Partial<RecordedParts> {
  if (request === undefined) return {};
  const refused = REFUSALS.find((each) => each === reason);
  const { method, host, path, grpcService, grpcMethod } = request;
  return {
    isRequest: true,
    ...(refused === undefined ? {} : { refused }),
    ...(method === '' ? {} : { method }),
    ...(host === '' ? {} : { host }),
    // The cast is sound: what an agent records was normalised; at worst it is no path that any rule names.
    ...(path === '' ? {} : { path: path as NormalizedPath }),
    ...(grpcService === '' ? {} : { grpc: { service: grpcService, method: grpcMethod } }),
  };
}

/** Whether policies have a say in such calls. */
export function isForPolicies({ verdict, reason }: CallKind): boolean {
  return verdict === 'allow' || BY_POLICIES.has(reason);
}

/**
 * Equal calls as one, however and by whom they were decided: with the verdict that was the last, and whether others were decided otherwise. The caller's namespace and service
 * account are those of `metadataOf` now, else what they were.
 */
export class RecalledCalls {
  readonly #calls = new Map<string, CountedKind>();

  add(counted: CountedKind): void {
    if (!isForPolicies(counted.kind)) return;
    const { source, destination, request, reason } = counted.kind;
    const refused = REFUSALS.some((each) => each === reason) ? reason : '';
    const key = JSON.stringify([source, destination, request, refused]);
    const known = this.#calls.get(key);
    this.#calls.set(key, known === undefined ? counted : together(known, counted));
  }

  get size(): number {
    return this.#calls.size;
  }

  values(): IterableIterator<CountedKind> {
    return this.#calls.values();
  }
}

/** Two kinds as one, with what was decided last. */
export function together(one: CountedKind, other: CountedKind): CountedKind {
  const latest = one.lastSeenAtMs >= other.lastSeenAtMs ? one : other;
  const isMixed = one.kind.verdict !== other.kind.verdict || one.isMixed === true || other.isMixed === true;
  const rules = [one, other].flatMap(rulesOf);
  const decidedBy = [...new Map(rules.map((each) => [`${policyKey(each.policy)}#${each.rule}`, each])).values()];
  return { ...latest, count: one.count + other.count, isMixed, decidedBy };
}

function rulesOf({ kind: { rule }, decidedBy }: CountedKind): readonly RuleReference[] {
  return decidedBy ?? (rule === undefined ? [] : [rule]);
}

/** As the engine takes it. */
export function recalled(counted: CountedKind, destination: Destination): RecordedCall {
  return recordedCallOf(partsOf(counted, destination));
}
