import { createHash } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { Call, Decision, Destination, PolicyName, RuleReference } from '../../policy/model.ts';
import { recordedPathOf } from '../../policy/path-inference.ts';
import { policyKey } from '../../policy/policy.ts';
import type { CallSchema, RuleReferenceSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { DecidedCall } from './decided-call.ts';
import { wouldDeny } from './decision-record.ts';
import { sharedSelectors } from './shared-selectors.ts';

/** A destination as it is recorded; one object for each {@link Destination}. */
export interface RecordedDestination {
  /** Short, and equal for equal destinations. */
  readonly key: string;
  readonly spiffeId: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly port: number;
  readonly selectors: readonly string[];
}

/** A request as it is recorded. Texts that are not recorded are empty. */
interface RecordedRequest {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly grpcService: string;
  readonly grpcMethod: string;
}

/** What is equal of calls that are counted together, as parts from which its key and its wire form are made. */
export interface RecordedKind {
  readonly source: string;
  readonly destination: RecordedDestination;
  /** Undefined for a connection whose requests nobody saw. */
  readonly request: RecordedRequest | undefined;
  readonly verdict: 'allow' | 'deny';
  readonly reason: string;
  readonly decision: Decision | undefined;
  /** Rules of AUDIT policies that match: the first of each policy, of {@link MOST_AUDITS} policies at the most. */
  readonly audits: readonly RuleReference[];
  readonly point: string;
}

/** Longer ones are not recorded: what a caller sends must not decide how much memory is needed. */
const MAX_PATH = 512;
const MAX_HOST = 255;
const MOST_AUDITS = 8;
const NO_AUDITS: readonly RuleReference[] = [];
const NO_TEXTS: RecordedRequest = { method: '', host: '', path: '', grpcService: '', grpcMethod: '' };

/** How a destination is recorded. @returns undefined where it has no identity: nobody could say later whose call it was */
export function recordedDestination(destination: Destination): RecordedDestination | undefined {
  const { spiffeId, namespace = '', serviceAccount = '', port = 0 } = destination;
  if (spiffeId === undefined) return undefined;
  const selectors = sharedSelectors(destination.selectors);
  const parts = { spiffeId: spiffeId.toString(), namespace, serviceAccount, port, selectors };
  return { ...parts, key: createHash('sha256').update(JSON.stringify(parts)).digest('base64url') };
}

/** The kind of a call. */
export function recordedKind({ check, outcome }: DecidedCall, call: Call, destination: RecordedDestination): RecordedKind {
  return {
    source: check.sourceId?.toString() ?? '',
    destination,
    request: requestOf(call),
    verdict: outcome.verdict,
    reason: outcome.reason,
    decision: outcome.decision,
    audits: firstOfEach(outcome.decision?.audits ?? NO_AUDITS),
    point: check.point,
  };
}

function firstOfEach(audits: readonly RuleReference[]): readonly RuleReference[] {
  if (audits.length < 2) return audits;
  const byPolicy = new Map<string, RuleReference>();
  for (const each of audits) {
    const key = policyKey(each.policy);
    if (!byPolicy.has(key)) byPolicy.set(key, each);
    if (byPolicy.size === MOST_AUDITS) break;
  }
  return [...byPolicy.values()];
}

function requestOf({ request, refused }: Call): RecordedRequest | undefined {
  // An ambiguous request was a request, of which nothing can be said.
  if (request === undefined) return refused === undefined ? undefined : NO_TEXTS;
  const { method, host, path, grpc } = request;
  // One with braces of its own would be taken for a template: so nothing of it is recorded, nor of the gRPC call that it says.
  const recorded = path.length > MAX_PATH ? undefined : recordedPathOf(path);
  const isKept = recorded !== undefined;
  return {
    method,
    host: host.length > MAX_HOST ? '' : host,
    path: recorded ?? '',
    grpcService: isKept ? (grpc?.service ?? '') : '',
    grpcMethod: isKept ? (grpc?.method ?? '') : '',
  };
}

/** The text that is equal for equal kinds. No part can hold a line break: they were normalised, or are ours. */
export function kindKey({ source, destination, request, verdict, reason, decision, audits, point }: RecordedKind): string {
  const audited = audits.length === 0 ? '' : audits.map(ruleKey).join('&');
  const head = `${source}\n${destination.key}\n${point}\n${verdict}\n${reason}\n${ruleKey(decision)}\n${audited}`;
  const dryRun = decision !== undefined && wouldDeny(decision) ? `\n!${ruleKey(decision.dryRun)}` : '\n';
  if (request === undefined) return head + dryRun;
  return `${head}${dryRun}\n${request.method}\n${request.host}\n${request.path}\n${request.grpcService}\n${request.grpcMethod}`;
}

function ruleKey(by: { readonly policy?: PolicyName; readonly rule?: number } | undefined): string {
  if (by?.policy === undefined) return '';
  const { kind, namespace, name } = by.policy;
  return `${kind}/${namespace}/${name}#${by.rule}`;
}

const USUAL = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']);

/** The kind that stands for many where there are too many: what a caller can vary at will counts as not recorded. */
export function foldedKind(kind: RecordedKind): RecordedKind {
  if (kind.request === undefined) return kind;
  return { ...kind, request: { ...NO_TEXTS, method: USUAL.has(kind.request.method) ? kind.request.method : '' } };
}

/** A kind that is kept: texts of its own, so that it holds nothing else of the request in memory. */
export function keptKind(kind: RecordedKind): RecordedKind {
  const { request } = kind;
  if (request === undefined) return kind;
  const copy = (text: string): string => Buffer.from(text).toString();
  return {
    ...kind,
    request: {
      method: copy(request.method),
      host: copy(request.host),
      path: copy(request.path),
      grpcService: copy(request.grpcService),
      grpcMethod: copy(request.grpcMethod),
    },
  };
}

/** A counted kind as it goes to the CA. */
export function wireCall(kind: RecordedKind, count: number, lastSeenMs: number): MessageInitShape<typeof CallSchema> {
  const { source, destination, request, decision, audits } = kind;
  const { spiffeId, namespace, serviceAccount, port, selectors } = destination;
  const rule = ruleReference(decision);
  const isWouldDeny = decision !== undefined && wouldDeny(decision);
  const dryRunRule = isWouldDeny ? ruleReference(decision.dryRun) : undefined;
  return {
    sourceSpiffeId: source,
    destination: { spiffeId, namespace, serviceAccount, port, selectors: [...selectors] },
    ...(request === undefined ? {} : { request: wireRequest(request) }),
    verdict: kind.verdict,
    reason: kind.reason,
    ...(rule === undefined ? {} : { rule }),
    ...(dryRunRule === undefined ? {} : { dryRunRule }),
    wouldDeny: isWouldDeny,
    ...(audits.length === 0 ? {} : { auditRules: audits.map(({ policy, rule: place }) => ({ policy, rule: place })) }),
    count: BigInt(count),
    lastSeen: timestampFromMs(lastSeenMs),
    point: kind.point,
  };
}

function wireRequest({ method, host, path, grpcService, grpcMethod }: RecordedRequest) {
  return { method, host, pathTemplate: path, grpcService, grpcMethod };
}

function ruleReference(
  by: { readonly policy?: PolicyName; readonly rule?: number } | undefined,
): MessageInitShape<typeof RuleReferenceSchema> | undefined {
  return by?.policy === undefined || by.rule === undefined ? undefined : { policy: by.policy, rule: by.rule };
}
