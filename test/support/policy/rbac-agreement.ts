// What policies are compiled to for Envoy, compared with the engine over random policies and calls.
import * as fc from 'fast-check';
import { compileRbac } from '../../../agent/envoy/rbac/compile.ts';
import type { RbacInput, RbacRules } from '../../../agent/envoy/rbac/compile.ts';
import { IdentityError } from '../../../core/errors.ts';
import { compile, type Snapshot } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import type { Expressions } from '../../../policy/expressions/expressions.ts';
import { compileRegex } from '../../../policy/expressions/re2.ts';
import { formatIpAddress, readIpAddress } from '../../../policy/match/ip.ts';
import type { Call, CallField, DefaultAction, Destination, Source } from '../../../policy/model.ts';
import { normalizeRequest } from '../../../policy/normalize/request.ts';
import type { Policy } from '../../../policy/policy.ts';
import type { WorkloadMetadata } from '../../../policy/workload-metadata.ts';
import { callers, destinations, policies } from './random.ts';
import { type Arriving, arriving, headersOf, normalizedByEnvoy } from './random-envoy.ts';
import { type EnvoyCall, interpretRbac } from './rbac-interpreter.ts';

/** The engine as a point sees it that cannot see users, conditions and relations: what is unseen counts as the action says. */
export const UNSEEN_CONDITIONS: Expressions = {
  condition: () => {
    throw new IdentityError('invalid_argument', 'is not seen');
  },
  regex: compileRegex,
};

interface Sample {
  readonly given: readonly Policy[];
  readonly defaultAction: DefaultAction;
  readonly destination: Destination;
  readonly calls: readonly SampleCall[];
  readonly unreadable: Source;
  readonly isFrugal: boolean;
}

interface SampleCall {
  readonly source: Source;
  readonly address: string | undefined;
  readonly request: Arriving | undefined;
  readonly isNormalized: boolean;
  /** Whether this Envoy joins repeated headers before it looks at them. */
  readonly areJoined: boolean;
}

const CALLS_EACH = 50;
const TRUST_DOMAINS = { own: 'example.org', federated: ['partner.example'] };
const calls: fc.Arbitrary<SampleCall> = fc.record({
  source: fc.constantFrom(...callers),
  address: fc.constantFrom('10.1.2.3', '192.168.7.1', '2001:db8::1', undefined),
  request: fc.option(arriving, { nil: undefined, freq: 6 }),
  isNormalized: fc.boolean(),
  areJoined: fc.boolean(),
});
const samples: fc.Arbitrary<Sample> = fc.record({
  given: policies,
  defaultAction: fc.constantFrom('audit', 'allow', 'deny'),
  destination: fc.constantFrom(...destinations),
  calls: fc.array(calls, { minLength: CALLS_EACH, maxLength: CALLS_EACH }),
  unreadable: fc.constantFrom(...callers),
  isFrugal: fc.boolean(),
});

type Outcome = 'same' | 'narrower' | 'wider' | 'refused by Envoy';

/** How often each comparison was made, by kind. */
export type Tally = Map<Outcome, number>;

/** Compares over so many random calls. Throws, with an example, where Envoy would let in what the engine does not, or differ without a reason. */
export function compareRbac(count: number): Tally {
  const tally: Tally = new Map();
  const judge = (sample: Sample): void => {
    const snapshot = compile(sample.given, { defaultAction: sample.defaultAction, expressions: UNSEEN_CONDITIONS });
    const compiled = { requests: rulesOf(sample, snapshot, 'requests'), connections: rulesOf(sample, snapshot, 'connections') };
    for (const call of sample.calls) {
      const outcome = compareCall(sample, call, { snapshot, compiled });
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
    }
  };
  const { failed, errorInstance, seed } = fc.check(fc.property(samples, judge), { numRuns: Math.ceil(count / CALLS_EACH) });
  if (failed) throw new Error(`the answers differ (seed ${seed})`, { cause: errorInstance });
  return tally;
}

interface Compiled {
  readonly snapshot: Snapshot;
  readonly compiled: Readonly<Record<RbacInput['sees'], RbacRules>>;
}

function compareCall(sample: Sample, call: SampleCall, { snapshot, compiled }: Compiled): Outcome {
  const path = call.request && (call.isNormalized ? normalizedByEnvoy(call.request.target) : call.request.target);
  if (call.request !== undefined && path === undefined) return 'refused by Envoy';
  const seen = seenBy(sample, call, path);
  const rules = compiled[call.request === undefined ? 'connections' : 'requests'];
  // What is decided about is what goes on to the service.
  const decision = decide(snapshot, callOf(sample, call, path));
  const pairs = [
    [decision.verdict, interpretRbac(rules.rules, seen).isAllowed],
    [decision.dryRun?.verdict ?? 'allow', rules.shadow === undefined || interpretRbac(rules.shadow, seen).isAllowed],
  ] as const;
  for (const [verdict, isAllowed] of pairs) {
    if (isAllowed === (verdict === 'allow')) continue;
    if (!isAllowed && isNarrower(sample, call, path)) return 'narrower';
    if (isAllowed && isRepeatedOnly(sample, call)) return 'wider';
    throw new Error(
      `${isAllowed ? 'wider' : 'narrower'}: ${JSON.stringify([call, path, decision, sample.given, sample.destination])}`,
    );
  }
  return 'same';
}

/**
 * What cannot be seen of repeated headers: that the same value came twice, that several together match an expression of a
 * DENY rule, and where Envoy joins them that a line began with a blank.
 */
function isRepeatedOnly({ given }: Sample, { request, areJoined }: SampleCall): boolean {
  const values = Map.groupBy(request?.headers ?? [], ([name]) => name.toLowerCase());
  const repeated = [...values.values()].filter((each) => each.length > 1);
  const isSame = repeated.every((each) => new Set(each.map(([, value]) => value)).size === 1);
  const isHidden = areJoined && repeated.some((each) => each.slice(1).some(([, value]) => value.startsWith(' ')));
  return repeated.length > 0 && (isSame || isHidden || hasHeaderRegex(given));
}

function hasHeaderText(given: readonly Policy[]): boolean {
  return JSON.stringify(given).includes('"headers"');
}

function hasHeaderRegex(given: readonly Policy[]): boolean {
  const clauses = given.flatMap(({ rules }) => rules).flatMap(({ to = [] }) => to);
  return clauses
    .flatMap((each) => [...(each.headers ?? []), ...(each.not?.headers ?? [])])
    .some(({ regex }) => regex !== undefined);
}

/** Where Envoy cannot tell, or was not told to normalise. */
function isNarrower({ given, isFrugal }: Sample, { request, isNormalized }: SampleCall, path: string | undefined): boolean {
  const names = request?.headers.map(([name]) => name.toLowerCase()) ?? [];
  const isRepeated =
    new Set(names).size < names.length || request?.headers.some(([, value]) => /,\S|[^ -~]|^ | $/.test(value)) === true;
  const hasRegex = JSON.stringify(given).includes('"regex"');
  const hasHeader = request?.headers.length !== 0 && hasHeaderRegex(given);
  return (
    isRepeated ||
    hasHeader ||
    (isFrugal && hasHeaderText(given)) ||
    (hasRegex && (isFrugal || path?.includes('%') === true)) ||
    (request !== undefined && !isNormalized)
  );
}

function rulesOf({ destination, unreadable, isFrugal }: Sample, snapshot: Snapshot, sees: RbacInput['sees']): RbacRules {
  const view = snapshot.viewFor(destination);
  const limits = isFrugal ? { maxCost: 70, regexes: false } : { maxCost: Infinity, regexes: true };
  return compileRbac({
    view,
    defaultAction: snapshot.defaultAction,
    known: knownWith(unreadable),
    sees,
    limits,
    trustDomains: TRUST_DOMAINS,
  });
}

function knownWith({ spiffeId: unreadable }: Source): RbacInput['known'] {
  const workloads = new Map<string, WorkloadMetadata>();
  for (const { spiffeId, namespace, serviceAccount } of callers) {
    if (spiffeId === undefined || namespace === undefined || serviceAccount === undefined) continue;
    if (spiffeId !== unreadable) workloads.set(spiffeId.toString(), { namespace, serviceAccount });
  }
  return { workloads, unreadableWorkloads: new Set(unreadable === undefined ? [] : [unreadable.toString()]) };
}

function seenBy(
  { destination }: Sample,
  { source, address, request, areJoined }: SampleCall,
  path: string | undefined,
): EnvoyCall {
  return {
    peer: source.spiffeId?.toString(),
    address,
    port: destination.port,
    ...(request === undefined || path === undefined ? {} : { headers: headersOf(request, path, areJoined) }),
  };
}

function callOf({ destination, unreadable }: Sample, { source, address, request }: SampleCall, path: string | undefined): Call {
  const ip = address === undefined ? undefined : readIpAddress(address);
  if (ip !== undefined && formatIpAddress(ip) !== address) throw new Error('an address in another form');
  const isUnreadable = source.spiffeId !== undefined && source.spiffeId === unreadable.spiffeId;
  const unseen: CallField[] = isUnreadable ? ['user', 'source.workload'] : ['user'];
  return {
    source: { ...source, ...(ip === undefined ? {} : { address: ip }) },
    destination,
    ...(request === undefined ? {} : normalizeRequest({ ...request, target: path ?? '' })),
    unseen: new Set(unseen),
    atMs: 0,
  };
}
