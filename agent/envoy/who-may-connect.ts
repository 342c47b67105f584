import type { CompiledRule } from '../../policy/compile/policy.ts';
import type { Clause } from '../../policy/compile/rule.ts';
import { YES } from '../../policy/compile/tri.ts';
import type { Call } from '../../policy/model.ts';
import type { SourceClause } from '../../policy/resources/source-clause.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Enforcement } from '../authz/enforcement.ts';
import { type ProxyPolicy } from './proxy-policy.ts';
import type { TextCondition } from './rbac/condition.ts';
import { spiffeIdCondition } from './rbac/source-conditions.ts';

/** Callers by their SPIFFE IDs; of any that is trusted where there is no list. */
export type Callers = readonly TextCondition[] | 'anybody';

type Policies = Extract<ProxyPolicy, { kind: 'policies' }>;

const NOBODY: Callers = [];
// Expressions beyond this are more than an Envoy takes that was not told otherwise.
const LIMITS = { maxCost: 70 };

/**
 * Who could be let in, judged before anything is known but who calls: never fewer than some ALLOW rule lets in. Where no ALLOW
 * policy selects the destination the mesh's default says who.
 */
export function whoMayConnect(policy: ProxyPolicy): Callers {
  if (policy.kind === 'fixed') return policy.verdict === 'allow' ? 'anybody' : NOBODY;
  const { snapshot } = policy.enforcement;
  const { hasAllow, allow } = snapshot.viewFor(policy.destination).enforced;
  if (!hasAllow) return snapshot.defaultAction === 'deny' ? NOBODY : 'anybody';
  const callers = new Map<string, TextCondition>();
  for (const rule of allow.rules) {
    const ofRule = callersOf(rule, policy);
    if (ofRule === 'anybody') return 'anybody';
    for (const each of ofRule) callers.set(JSON.stringify(each), each);
  }
  return [...callers.entries()].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, caller]) => caller);
}

function callersOf(rule: CompiledRule, policy: Policies): Callers {
  const callers: TextCondition[] = [];
  if (rule.spec.from === undefined) return 'anybody';
  for (const [index, clause] of rule.spec.from.entries()) {
    const compiled = rule.from[index];
    const ofClause = compiled === undefined ? 'anybody' : callersOfClause(clause, compiled, { rule, policy });
    if (ofClause === 'anybody') return 'anybody';
    callers.push(...ofClause);
  }
  return callers;
}

interface ClauseContext {
  readonly rule: CompiledRule;
  readonly policy: Policies;
}

/** Callers that a clause names one by one are looked at one by one; of the others, one of its fields says who they are. */
function callersOfClause(clause: SourceClause, compiled: Clause, { policy }: ClauseContext): Callers {
  const { spiffeIDs, trustDomains, namespaces, serviceAccounts } = clause;
  const isPossible = possible(compiled, policy);
  if (spiffeIDs?.every((id) => !id.includes('*'))) return exactly(spiffeIDs.filter(isPossible));
  if (namespaces !== undefined || serviceAccounts !== undefined) {
    return exactly([...policy.enforcement.workloads.keys()].filter(isPossible));
  }
  if (spiffeIDs !== undefined) return spiffeIDs.map(patternOf);
  return trustDomains === undefined ? 'anybody' : trustDomains.flatMap(membersOf);
}

const exactly = (ids: readonly string[]): Callers => ids.map((exact) => ({ exact }));

function membersOf(trustDomain: string): TextCondition[] {
  const id = `spiffe://${trustDomain}`;
  return [{ exact: id }, { prefix: `${id}/` }];
}

/** A pattern that is too large for an expression is widened to what it begins with. */
function patternOf(pattern: string): TextCondition {
  const { matches } = spiffeIdCondition(pattern, LIMITS);
  return matches.kind === 'principal' ? matches.text : { prefix: pattern.slice(0, pattern.indexOf('*')) };
}

/** Whether what is known of a caller by its ID leaves room for the clause to hold. */
function possible({ literals }: Clause, { destination, enforcement }: Policies): (id: string) => boolean {
  const known = literals.filter(({ field }) => field === 'source.spiffeId' || field === 'source.workload');
  return (id) => {
    const call = callOf(id, enforcement, destination);
    return call !== undefined && known.every(({ test }) => test(call) === YES);
  };
}

function callOf(id: string, { metadataOf }: Enforcement, destination: Call['destination']): Call | undefined {
  const spiffeId = parsed(id);
  return spiffeId && { source: { spiffeId, ...metadataOf(spiffeId) }, destination, atMs: 0 };
}

// A policy may name what no SPIFFE ID can be: nobody has it.
function parsed(id: string) {
  try {
    return parseSpiffeId(id);
  } catch {
    return undefined;
  }
}
