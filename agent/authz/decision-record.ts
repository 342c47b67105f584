import type { Decision, PolicyName } from '../../policy/model.ts';
import { policyKey } from '../../policy/policy.ts';
import type { DecidedCall } from './decided-call.ts';
import { hashSubject } from './subject-hash.ts';

/** One decided call as the log has it. No `sub`, no query, no header but the host, no token. */
export interface DecisionRecord {
  readonly point: string;
  readonly verdict: 'allow' | 'deny';
  readonly reason: string;
  readonly status: number;
  /** `kind/namespace/name`, and the place in `spec.rules` from 0 on. */
  readonly policy?: string | undefined;
  readonly rule?: number | undefined;
  readonly source?: string | undefined;
  readonly destination?: string | undefined;
  readonly port?: number | undefined;
  readonly method?: string | undefined;
  readonly host?: string | undefined;
  readonly path?: string | undefined;
  readonly userIssuer?: string | undefined;
  readonly userHash?: string | undefined;
  /** What would be decided, were all policies of mode DryRun enforced. */
  readonly dryRun?: Pick<DecisionRecord, 'verdict' | 'reason' | 'policy' | 'rule'> | undefined;
  /** Rules of AUDIT policies that match, as `kind/namespace/name#rule`. */
  readonly audits?: readonly string[] | undefined;
  readonly durationMs: number;
}

const MAX_METHOD = 64;
const MAX_PATH = 1024;

/** What the log says of a call. */
export function decisionRecord({ check, outcome, call, durationMs }: DecidedCall, hashKey: Uint8Array): DecisionRecord {
  const { decision, user } = outcome;
  const audits = decision?.audits.map(({ policy, rule }) => `${policyKey(policy)}#${rule}`) ?? [];
  return {
    point: check.point,
    verdict: outcome.verdict,
    reason: outcome.reason,
    status: outcome.status,
    ...ruleOf(decision),
    source: check.sourceId?.toString(),
    destination: outcome.destinationId?.toString(),
    port: check.port,
    ...requestOf(check.request, call?.request),
    ...(user === undefined ? {} : { userIssuer: user.issuer, userHash: hashSubject(user.subject, hashKey) }),
    dryRun: decision?.dryRun && { verdict: decision.dryRun.verdict, reason: decision.dryRun.reason, ...ruleOf(decision.dryRun) },
    audits: audits.length === 0 ? undefined : audits,
    durationMs: Math.round(durationMs * 1000) / 1000,
  };
}

function ruleOf(by: { readonly policy?: PolicyName; readonly rule?: number } | undefined): {
  readonly policy?: string;
  readonly rule?: number;
} {
  if (by?.policy === undefined) return {};
  return { policy: policyKey(by.policy), ...(by.rule === undefined ? {} : { rule: by.rule }) };
}

type Seen = DecidedCall['check']['request'];
type Judged = NonNullable<DecidedCall['call']>['request'];

/** As it was judged; of a request that could not be normalised, what is safe to repeat. Its host is not: it may hold a password. */
function requestOf(seen: Seen, judged: Judged): Pick<DecisionRecord, 'method' | 'host' | 'path'> {
  if (judged !== undefined) return { method: judged.method, host: judged.host, path: withoutQuery(judged.path) };
  if (seen === undefined) return {};
  return { method: seen.method.slice(0, MAX_METHOD), path: withoutQuery(seen.target.replace(/^[a-z]+:\/\/[^/?#]*/i, '')) };
}

/** Up to whatever some program would take for the begin of a query, a fragment or a matrix parameter, encoded or not. */
function withoutQuery(path: string): string {
  const [bare = ''] = path.split(/[?#;]|%(?:25)*(?:3f|23|3b)/i, 1);
  return bare.slice(0, MAX_PATH);
}

/** Whether the call was allowed and would be denied, were all policies of mode DryRun enforced. */
export function wouldDeny({ verdict, dryRun }: Decision): boolean {
  return verdict === 'allow' && dryRun?.verdict === 'deny';
}
