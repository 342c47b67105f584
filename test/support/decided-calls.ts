// Decided calls as an authorizer tells of them.
import type { Check, Outcome } from '../../agent/authz/check.ts';
import type { DecidedCall } from '../../agent/authz/decided-call.ts';
import { SelectorSet } from '../../agent/cache/selectors.ts';
import type { Call, Decision, Destination, PolicyName } from '../../policy/model.ts';
import { normalizeRequest, type RawRequest } from '../../policy/normalize/request.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';

export const ORDERS_POLICY: PolicyName = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders' };

export const ALLOWED: Decision = { verdict: 'allow', reason: 'allowed_by_rule', policy: ORDERS_POLICY, rule: 1, audits: [] };
export const DENIED: Decision = { verdict: 'deny', reason: 'no_rule_matches', audits: [] };

export const ORDERS: Destination = {
  spiffeId: parseSpiffeId('spiffe://example.org/orders'),
  namespace: 'shop',
  serviceAccount: 'orders',
  port: 8080,
  selectors: new Set(['k8s:ns:shop', 'k8s:pod-label:app:orders', 'k8s:pod-name:orders-5d8f-x2x']),
};

/** What a test says of a call; the rest is an allowed `GET /orders/7` of `/web` at `/orders`. */
export interface DecidedOptions {
  readonly decision?: Decision;
  readonly source?: string | undefined;
  readonly destination?: Destination;
  readonly request?: Partial<RawRequest> | undefined;
  readonly isConnection?: boolean;
  readonly point?: Check['point'];
  readonly outcome?: Partial<Outcome>;
  readonly hasCall?: boolean;
  readonly atMs?: number;
}

export function decidedCall(options: DecidedOptions = {}): DecidedCall {
  const { decision = ALLOWED, destination = ORDERS, point = 'ext_authz', atMs = 1_000, hasCall = true } = options;
  const source = 'source' in options ? options.source : 'spiffe://example.org/web';
  const sourceId = source === undefined ? undefined : parseSpiffeId(source);
  const request = { method: 'GET', target: '/orders/7', authority: 'orders.shop', headers: [], ...options.request };
  const normalized = options.isConnection === true ? {} : normalizeRequest(request);
  const call: Call = { source: sourceId === undefined ? {} : { spiffeId: sourceId }, destination, atMs, ...normalized };
  const check: Check = {
    point,
    asking: SelectorSet.of([]),
    sourceId,
    port: destination.port,
    ...(options.isConnection === true ? {} : { request }),
  };
  const outcome: Outcome = {
    verdict: decision.verdict,
    status: decision.verdict === 'allow' ? 200 : 403,
    headers: new Map(),
    reason: decision.reason,
    decision,
    destinationId: destination.spiffeId,
    ...options.outcome,
  };
  return { check, outcome, ...(hasCall ? { call } : {}), atMs, durationMs: 0.25 };
}
