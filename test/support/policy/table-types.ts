import { compile } from '../../../policy/compile/snapshot.ts';
import type { Snapshot } from '../../../policy/compile/snapshot.ts';
import type { Expressions } from '../../../policy/expressions/expressions.ts';
import type { Call, CallField, Decision, DefaultAction } from '../../../policy/model.ts';
import { normalizeRequest } from '../../../policy/normalize/request.ts';
import type { RawHeader } from '../../../policy/normalize/headers.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import type { Policy } from '../../../policy/policy.ts';
import { CALLERS, DESTINATIONS, USERS } from './cast.ts';

/** What a call has beside caller, destination and request line. */
export interface Extras {
  /** `orders` unless it says otherwise. */
  readonly to?: keyof typeof DESTINATIONS;
  /** `:authority`; the destination's name by default. */
  readonly host?: string;
  readonly headers?: readonly RawHeader[];
  readonly user?: keyof typeof USERS;
  readonly unseen?: readonly CallField[];
}

/**
 * One call: who calls, the request line (`GET /orders/7`, or `connect` for a connection whose requests are not seen), what is expected
 * (`allow shop/orders#0`, `deny no_rule_matches`), and the rest.
 */
export type Row = readonly [caller: keyof typeof CALLERS, request: string, expected: string, extras?: Extras];

/** Policies and calls that are decided by them. */
export interface Scenario {
  readonly title: string;
  /** What the scenario shows, for the guide. */
  readonly text: string;
  readonly defaultAction?: DefaultAction;
  readonly policies: readonly object[];
  readonly rows: readonly Row[];
  /** Whether docs/authorization.md shows it. */
  readonly isShown?: boolean;
}

/** The policies of a scenario. */
export function policiesOf({ policies }: Scenario): readonly Policy[] {
  return policies.map((each) => parsePolicy(each));
}

/** The snapshot of a scenario. */
export function snapshotOf(scenario: Scenario, expressions: Expressions): Snapshot {
  return compile(policiesOf(scenario), { defaultAction: scenario.defaultAction ?? 'deny', expressions });
}

/** The call of a row. */
export function callOf([caller, line, , extras = {}]: Row): Call {
  const { to = 'orders', host = to, headers = [], user, unseen } = extras;
  const space = line.indexOf(' ');
  const raw = { method: line.slice(0, space), target: line.slice(space + 1), authority: host, headers };
  return {
    source: CALLERS[caller],
    destination: DESTINATIONS[to],
    ...(line === 'connect' ? {} : normalizeRequest(raw)),
    ...(user === undefined ? {} : { user: USERS[user] }),
    ...(unseen === undefined ? {} : { unseen: new Set(unseen) }),
    atMs: Date.UTC(2026, 0, 31, 12),
  };
}

/** A decision as the table writes it. */
export function written({ verdict, reason, policy, rule }: Pick<Decision, 'verdict' | 'reason' | 'policy' | 'rule'>): string {
  if (policy === undefined) return `${verdict} ${reason}`;
  return `${verdict} ${policy.namespace === '' ? '' : `${policy.namespace}/`}${policy.name}#${rule}`;
}
