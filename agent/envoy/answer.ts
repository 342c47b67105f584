import type { MessageInitShape } from '@bufbuild/protobuf';
import { policyKey } from '../../policy/policy.ts';
import type { Decision } from '../../policy/model.ts';
import {
  HeaderValueOption_HeaderAppendAction,
  type HeaderValueOptionSchema,
} from '../../proto/gen/envoy/config/core/v3/header_pb.ts';
import type { CheckResponseSchema } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import type { Outcome } from '../authz/check.ts';
import { denialBody, denialMessage } from '../authz/denial.ts';
import { visible } from '../http-authz/answer.ts';

/** Headers that begin so are ours alone: a request that has one loses it before it goes on. */
export const OWN_HEADERS = 'x-countersign-';
/** The caller's SPIFFE ID, as the connection proved it; absent for one that has shown none. */
export const SOURCE_HEADER = 'x-countersign-source';
/** `sub` of the user whose token was verified, and its issuer; absent without one. */
const USER_HEADER = 'x-countersign-user';
const USER_ISSUER_HEADER = 'x-countersign-user-issuer';

type Response = MessageInitShape<typeof CheckResponseSchema>;
type HeaderOption = MessageInitShape<typeof HeaderValueOptionSchema>;

// gRPC status codes: OK, UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE, INVALID_ARGUMENT.
const CODES = { 200: 0, 400: 3, 401: 16, 403: 7, 503: 14 } as const;

/** Lets a call through: with who calls, for which user, and without headers that only we may set. */
export function allowing(outcome: Outcome, source: string | undefined, forged: readonly string[]): Response {
  const { user } = outcome;
  const headers = [
    ...(source === undefined ? [] : [replacing(SOURCE_HEADER, source)]),
    ...(user === undefined
      ? []
      : [replacing(USER_HEADER, visible(user.subject)), replacing(USER_ISSUER_HEADER, visible(user.issuer))]),
  ];
  // Envoy removes after it has set, so what is set replaces and must not be named here.
  const set = new Set(headers.map(({ header }) => header?.key));
  const headersToRemove = [...new Set([SOURCE_HEADER, ...forged])].filter((name) => !set.has(name));
  return {
    status: { code: CODES[200] },
    httpResponse: { case: 'okResponse', value: { headers, headersToRemove } },
    dynamicMetadata: metadataOf(outcome),
  };
}

/** Refuses a call. Envoy turns a gRPC request's answer into a gRPC status, whose message is the body: so that is plain text. */
export function denying(outcome: Outcome, { isGrpc }: { readonly isGrpc: boolean }): Response {
  const headers = [...outcome.headers].map(([name, value]) => replacing(name, value));
  if (!isGrpc) headers.push(replacing('content-type', 'application/json'));
  const body = isGrpc ? denialMessage(outcome) : denialBody(outcome);
  return {
    status: { code: CODES[outcome.status === 200 ? 403 : outcome.status] },
    httpResponse: {
      case: 'deniedResponse',
      value: { status: { code: outcome.status === 200 ? 403 : outcome.status }, headers, body },
    },
    dynamicMetadata: metadataOf(outcome),
  };
}

function replacing(key: string, value: string): HeaderOption {
  return { header: { key, value }, appendAction: HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD };
}

/** What filters after this one, and access logs, may know of the decision. */
function metadataOf({ verdict, reason, decision, destinationId }: Outcome): Record<string, string | number> {
  return {
    verdict,
    reason,
    ...(destinationId === undefined ? {} : { destination: destinationId.toString() }),
    ...(decision === undefined ? {} : ruleOf(decision, '')),
    ...(decision?.dryRun === undefined ? {} : dryRunOf(decision.dryRun)),
  };
}

function dryRunOf(decision: Decision): Record<string, string | number> {
  return { dry_run_verdict: decision.verdict, dry_run_reason: decision.reason, ...ruleOf(decision, 'dry_run_') };
}

function ruleOf({ policy, rule }: Decision, prefix: string): Record<string, string | number> {
  if (policy === undefined) return {};
  return { [`${prefix}policy`]: policyKey(policy), ...(rule === undefined ? {} : { [`${prefix}rule`]: rule }) };
}
