import type { PolicyName } from '../../policy/model.ts';
import type { Check, Outcome } from '../authz/check.ts';

/** What goes back over HTTP. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/**
 * The answer to `auth_request`, which lets a request pass at 2xx, refuses it at 401 and 403 with that status, and fails with 500 at any
 * other. So 400 becomes 401 where the answer says how to authenticate, else 403; 503 stays, and nothing but an allowed call is 200.
 */
export function proxyAnswer(outcome: Outcome, check: Check): Answer {
  return { status: proxyStatus(outcome), headers: { ...Object.fromEntries(outcome.headers), ...findings(outcome, check) } };
}

/** The answer where no decision was made at all. */
export function refusal(status: 400 | 403 | 404 | 405 | 413 | 503, reason: string): Answer {
  return { status, headers: { 'x-countersign-reason': reason } };
}

function proxyStatus({ verdict, status, headers }: Outcome): number {
  if (verdict === 'allow' && status === 200) return 200;
  if (status === 400) return headers.has('www-authenticate') ? 401 : 403;
  return status === 200 ? 403 : status;
}

/** What was found out, in headers that a proxy may pass on or log. */
function findings({ reason, decision, user, destinationId }: Outcome, { sourceId }: Check): Record<string, string> {
  const found = new Map<string, string | undefined>([
    ['x-countersign-reason', reason],
    ['x-countersign-source', sourceId?.toString()],
    ['x-countersign-policy', decision?.policy && nameOf(decision.policy)],
    ['x-countersign-rule', decision?.rule?.toString()],
    ['x-countersign-destination', destinationId?.toString()],
    ['x-countersign-user', user?.subject],
    ['x-countersign-user-issuer', user?.issuer],
  ]);
  return Object.fromEntries([...found].flatMap(([name, value]) => (value === undefined ? [] : [[name, visible(value)]])));
}

/** As people write it: `shop/orders`, or `everyone` for one of the cluster. */
export function nameOf({ namespace, name }: PolicyName): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

/** Percent-encoded where a header could not hold it, so that it can be undone. */
export function visible(text: string): string {
  return text.toWellFormed().replaceAll(/[^!-$&-~]/gu, encodeURIComponent);
}
