import type { CompiledRule } from './compile/policy.ts';
import type { Snapshot } from './compile/snapshot.ts';
import { anyOf, NO, YES } from './compile/tri.ts';
import type { Tri } from './compile/tri.ts';
import { isUniform } from './documents/recorded-path.ts';
import type { Call, CallField, Destination, ReasonCode, RuleReference } from './model.ts';
import type { NormalizedPath } from './normalize/path.ts';
import type { SourceClause } from './resources/source-clause.ts';

/** What can be asked of a workload. */
export interface Operation {
  readonly method: string;
  /** A normalised path; segments in braces stand for any: `/orders/{id}`. */
  readonly path: NormalizedPath;
}

/** A rule that has a say in an operation. */
export interface OperationRule extends RuleReference {
  readonly effect: 'allow' | 'deny';
  /** Who it is about: any of these. None: everybody. */
  readonly from: readonly SourceClause[];
  /** It holds only under conditions on what is not said here: host, port, headers, some of the paths, CEL, relations. */
  readonly isConditional: boolean;
}

/** Who may ask for an operation. */
export interface OperationCallers {
  readonly callers: 'nobody' | 'everybody' | 'some';
  /** Why, where no rule has a say. */
  readonly reason?: ReasonCode;
  /** Rules that may let somebody in, or keep somebody out, in the order in which policies decide. */
  readonly rules: readonly OperationRule[];
}

/**
 * Who may ask a destination for an operation, by rules and not by names: policies do not know who there is.
 *
 * @example
 * callersOf(snapshot, destination, { method: 'DELETE', path: normalizePath('/orders/{id}') }).callers; // 'nobody'
 */
export function callersOf(snapshot: Snapshot, destination: Destination, operation: Operation): OperationCallers {
  const { deny, allow, hasAllow } = snapshot.viewFor(destination).enforced;
  const denying = deny.rules.flatMap((rule) => judged(rule, 'deny', destination, operation));
  const shut = denying.find(isForAll);
  if (shut !== undefined) return { callers: 'nobody', reason: 'denied_by_rule', rules: [shut] };
  if (!hasAllow) return byDefault(snapshot, denying);
  const allowing = allow.rules.flatMap((rule) => judged(rule, 'allow', destination, operation));
  if (allowing.length === 0) return { callers: 'nobody', reason: 'no_rule_matches', rules: [] };
  const isOpen = denying.length === 0 && allowing.some(isForAll);
  return { callers: isOpen ? 'everybody' : 'some', rules: [...denying, ...allowing] };
}

function byDefault({ defaultAction }: Snapshot, denying: readonly OperationRule[]): OperationCallers {
  if (defaultAction === 'deny') return { callers: 'nobody', reason: 'default_deny', rules: [] };
  return { callers: denying.length === 0 ? 'everybody' : 'some', reason: `default_${defaultAction}`, rules: denying };
}

const isForAll = ({ from, isConditional }: OperationRule): boolean => from.length === 0 && !isConditional;

/** A description says nothing of these. */
const UNSAID: readonly CallField[] = ['request.host', 'request.headers', 'request.grpc', 'user'];

function judged(
  rule: CompiledRule,
  effect: OperationRule['effect'],
  destination: Destination,
  { method, path }: Operation,
): OperationRule[] {
  const { spec } = rule;
  const unrecorded = new Set<CallField>([
    ...UNSAID,
    ...(destination.port === undefined ? (['destination.port'] as const) : []),
    ...(isUniform(spec, path) ? [] : (['request.path'] as const)),
  ]);
  const request = { method, path, host: '', headers: new Map<string, string>() };
  const matches = matchesOperation(rule, { source: {}, destination, request, atMs: 0, unrecorded });
  if (matches === NO) return [];
  const isConditional = matches !== YES || spec.when !== undefined || spec.relations !== undefined;
  return [{ ...rule.reference, effect, from: spec.from ?? [], isConditional }];
}

function matchesOperation({ to }: CompiledRule, call: Call): Tri {
  return to.length === 0 ? YES : anyOf(to.map(({ test }) => test))(call);
}
