import { createHash } from 'node:crypto';
import type { RuleReference } from '../../policy/model.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';

/** What is equal of calls that are counted together. Texts that nobody recorded are empty. */
export interface CallKind {
  /** SPIFFE ID of the caller; empty: it showed none. */
  readonly source: string;
  readonly destination: CalledWorkload;
  /** Absent: a connection whose requests nobody saw. */
  readonly request?: RecordedRequest;
  readonly verdict: 'allow' | 'deny';
  readonly reason: string;
  /** The rule that decided. */
  readonly rule?: RuleReference;
  /** The rule of mode DryRun by which it would have been denied. */
  readonly dryRunRule?: RuleReference;
  readonly wouldDeny: boolean;
  /** Rules of AUDIT policies that match, one of each policy; absent: none does. */
  readonly auditRules?: readonly RuleReference[];
  /** Who saw it, such as `ext_authz`. */
  readonly point: string;
}

/** Who was called. */
export interface CalledWorkload {
  readonly spiffeId: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** 0: not recorded. */
  readonly port: number;
  /** Sorted, as text. */
  readonly selectors: readonly string[];
}

/** A request as it is recorded. */
export interface RecordedRequest {
  readonly method: string;
  readonly host: string;
  /** With segments that look like identifiers as variables. */
  readonly path: string;
  readonly grpcService: string;
  readonly grpcMethod: string;
}

/** Equal calls of one report. */
export interface SeenCalls {
  readonly kind: CallKind;
  readonly count: number;
  readonly lastSeenAtMs: number;
  /** What the registration of the caller says now. */
  readonly source: WorkloadMetadata;
  /** Keys of the policies of mode DryRun that would have denied them. */
  readonly wouldDenyPolicies: readonly string[];
}

/** A kind of call with how often it was made. */
export interface CountedKind {
  readonly kind: CallKind;
  /** What the registration of the caller said when it was last known. */
  readonly source: WorkloadMetadata;
  readonly count: number;
  readonly lastSeenAtMs: number;
  /** Of several kinds that are told as one: some were decided otherwise than the last. */
  readonly isMixed?: boolean;
  /** Of several kinds that are told as one: the rules that decided them. */
  readonly decidedBy?: readonly RuleReference[];
}

/** A kind as text: equal kinds are equal texts. */
export function kindText({
  source,
  destination,
  request,
  verdict,
  reason,
  rule,
  dryRunRule,
  wouldDeny,
  auditRules,
  point,
}: CallKind): string {
  const { spiffeId, namespace, serviceAccount, port, selectors } = destination;
  return JSON.stringify({
    source,
    destination: { spiffeId, namespace, serviceAccount, port, selectors },
    request: request && requestInOrder(request),
    verdict,
    reason,
    rule: rule && ruleInOrder(rule),
    dryRunRule: dryRunRule && ruleInOrder(dryRunRule),
    wouldDeny,
    auditRules: auditRules?.map(ruleInOrder),
    point,
  });
}

function requestInOrder({ method, host, path, grpcService, grpcMethod }: RecordedRequest): RecordedRequest {
  return { method, host, path, grpcService, grpcMethod };
}

function ruleInOrder({ policy: { kind, namespace, name }, rule }: RuleReference): RuleReference {
  return { policy: { kind, namespace, name }, rule };
}

/** Reads what {@link kindText} wrote. */
export function kindOfText(text: string): CallKind {
  // The cast is sound: kindText of this or an earlier release wrote it.
  return JSON.parse(text) as CallKind;
}

/** A short name of a kind. */
export function kindId(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}

/**
 * The kind that stands for many where there are too many to keep: what a caller can vary at will, path, host and gRPC method, counts as not
 * recorded. `depth` 2 leaves out the method, the rules, and who saw it too.
 */
export function folded(kind: CallKind, depth: 1 | 2): CallKind {
  const { source, destination, request, verdict, reason } = kind;
  const method = depth === 1 ? (request?.method ?? '') : '';
  const unknown = request && { request: { method, host: '', path: '', grpcService: '', grpcMethod: '' } };
  if (depth === 1) return { ...kind, ...unknown };
  return { source, destination, ...unknown, verdict, reason, wouldDeny: false, point: '' };
}
