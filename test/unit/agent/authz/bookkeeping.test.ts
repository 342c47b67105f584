import { pino } from 'pino';
import { expect, test } from 'vitest';
import { Bookkeeping } from '../../../../agent/authz/bookkeeping.ts';
import { authorizationConfig } from '../../../../agent/authz/config.ts';
import type { DecidedCall } from '../../../../agent/authz/decided-call.ts';
import { decode } from '../../../../core/decode.ts';
import { IdentityError } from '../../../../core/errors.ts';
import type { Decision, User } from '../../../../policy/model.ts';
import type { GrpcConnection } from '../../../../runtime/grpc-client.ts';
import { createMetrics } from '../../../../runtime/metrics.ts';
import { ALLOWED, decidedCall, DENIED, ORDERS, ORDERS_POLICY } from '../../../support/decided-calls.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const CANARY = 'canary-91ce';
const NAMELESS = { selectors: ORDERS.selectors, port: 8080 };
const alice: User = { issuer: 'https://id.example.org', subject: CANARY, claims: { CANARY }, actors: [] };
const WOULD_DENY: Decision = {
  ...ALLOWED,
  dryRun: { verdict: 'deny', reason: 'denied_by_rule', policy: { ...ORDERS_POLICY, name: 'new' }, rule: 0, audits: [] },
};

/** A CA that is never there. */
const nobody: Pick<GrpcConnection, 'client'> = {
  client() {
    throw new IdentityError('unavailable', 'nobody is there');
  },
};

interface Kept {
  readonly lines: readonly string[];
  readonly scraped: string;
  /** `name{labels} value` lines of the agent's decisions. */
  readonly figures: readonly string[];
}

/** All that is kept of the calls. */
async function keep(calls: readonly DecidedCall[], config: object = {}): Promise<Kept> {
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const clock = new ManualClock();
  const options = { config: decode(authorizationConfig('/'), config), hashKey: Buffer.alloc(32, 1), connection: nobody, clock };
  await using books = new Bookkeeping({ ...options, log, reportLog: log });
  const registry = createMetrics();
  await books.registerMetrics(registry);
  for (const call of calls) for (const observe of books.observers) observe(call);
  clock.advance(30_000);
  const scraped = await registry.metrics();
  const figures = scraped.split('\n').filter((line) => line.startsWith('countersign_agent') && !line.includes('_bucket'));
  return { lines, scraped, figures };
}

test('counts decisions by point, policy, verdict and reason', async () => {
  const calls = [{}, {}, { decision: DENIED }, { decision: WOULD_DENY }, { point: 'http' as const }].map(decidedCall);
  const { figures } = await keep(calls);
  const of = 'countersign_agent_decisions_total';
  expect(figures).toEqual(
    expect.arrayContaining([
      `${of}{point="ext_authz",policy="AuthorizationPolicy/shop/orders",verdict="allow",reason="allowed_by_rule"} 3`,
      `${of}{point="http",policy="AuthorizationPolicy/shop/orders",verdict="allow",reason="allowed_by_rule"} 1`,
      `${of}{point="ext_authz",policy="none",verdict="deny",reason="no_rule_matches"} 1`,
      'countersign_agent_would_deny_total{point="ext_authz",policy="AuthorizationPolicy/shop/new"} 1',
      'countersign_agent_decision_seconds_count{point="ext_authz"} 4',
      'countersign_agent_recorded_kinds 4',
    ]),
  );
});

test('a user who was only authenticated is counted and logged, and is no recorded call', async () => {
  const denied = { verdict: 'deny', status: 401, decision: undefined } as const;
  const token = { request: { target: '/7', headers: [['authorization', `Bearer ${CANARY}`]] } } as const;
  const calls = [
    decidedCall({ ...token, outcome: { ...denied, reason: 'user_missing' } }),
    decidedCall({ ...token, outcome: { ...denied, reason: 'user_refused' } }),
    decidedCall({ ...token, outcome: { ...denied, reason: 'policy_missing' }, hasCall: false }),
    decidedCall({ ...token, outcome: { decision: undefined, reason: 'user_authenticated', user: alice } }),
  ].map((call) => ({ ...call, isAuthentication: true }));
  const { figures, lines } = await keep(calls, { decisionLog: { sample: 1 } });
  const of = 'countersign_agent_user_tokens_total';
  expect(figures).toEqual(
    expect.arrayContaining([
      `${of}{outcome="missing"} 1`,
      `${of}{outcome="refused"} 1`,
      `${of}{outcome="accepted"} 1`,
      'countersign_agent_recorded_kinds 0',
      'countersign_agent_calls_not_recorded_total{why="unplaced"} 0',
    ]),
  );
  const reasons = ['user_missing', 'user_refused', 'policy_missing', 'user_authenticated'];
  expect(lines.map((line) => /"reason":"(\w+)"/.exec(line)?.[1])).toEqual(reasons);
  expect(lines.join('')).not.toContain(CANARY);
});

test('policies are told apart up to a number, so that figures stay bounded', async () => {
  const calls = Array.from({ length: 1_000 }, (_, index) =>
    decidedCall({ decision: { ...ALLOWED, policy: { ...ORDERS_POLICY, name: `policy-${index}` } } }),
  );
  const { figures } = await keep(calls);
  const decisions = figures.filter((line) => line.startsWith('countersign_agent_decisions_total'));
  expect(decisions.length).toBe(201);
  expect(decisions.find((line) => line.includes('policy="other"'))).toMatch(/ 800$/);
});

test('counts what became of user tokens', async () => {
  const reasons = ['user_missing', 'user_refused', 'user_refused', 'user_unavailable'];
  const denied = reasons.map((reason) => decidedCall({ outcome: { verdict: 'deny', reason, status: 401, decision: undefined } }));
  const { figures } = await keep([...denied, decidedCall({ outcome: { user: alice } }), decidedCall()]);
  expect(figures.filter((line) => line.startsWith('countersign_agent_user_tokens_total'))).toEqual([
    'countersign_agent_user_tokens_total{outcome="missing"} 1',
    'countersign_agent_user_tokens_total{outcome="refused"} 2',
    'countersign_agent_user_tokens_total{outcome="unavailable"} 1',
    'countersign_agent_user_tokens_total{outcome="accepted"} 1',
  ]);
});

test('counts what was left out, folded and not recorded, and how old the oldest is', async () => {
  const flood = Array.from({ length: 500 }, (_, index) => decidedCall({ decision: DENIED, request: { target: `/x${index}y` } }));
  const atMs = Date.UTC(2026, 0, 1);
  const calls = [decidedCall({ atMs }), ...flood, decidedCall({ destination: NAMELESS })];
  const { figures } = await keep(calls, { decisionLog: { recordsPerSecond: 1 }, calls: { maxKinds: 100 } });
  expect(figures).toEqual(
    expect.arrayContaining([
      'countersign_agent_decision_log_left_out_total{occasion="denied"} 490',
      'countersign_agent_calls_not_recorded_total{why="unplaced"} 1',
      'countersign_agent_calls_not_recorded_total{why="dropped"} 0',
      'countersign_agent_recorded_age_seconds 30',
    ]),
  );
  expect(figures.find((line) => line.includes('why="folded"'))).toMatch(/ 48\d$/);
});

test('calls need not be recorded', async () => {
  const { figures } = await keep([decidedCall()], { calls: { record: false } });
  expect(figures.some((line) => line.includes('recorded'))).toBe(false);
});

test('what a stop finds unreported is told', async () => {
  const { lines } = await keep([decidedCall()]);
  const lost = (line: string): boolean => line.includes('recorded calls are lost');
  expect(lines.some(lost)).toBe(true);
});

test('no user, token, header or query is kept anywhere', async () => {
  const headers = [
    ['authorization', `Bearer ${CANARY}`],
    ['cookie', CANARY],
  ] as const;
  const targets = [`/orders?x=${CANARY}`, `/a%2f?${CANARY}`, `/orders;s=${CANARY}`, `/orders#${CANARY}`];
  const calls = targets.flatMap((target) =>
    [ALLOWED, DENIED, WOULD_DENY].map((decision) =>
      decidedCall({ decision, request: { target, headers }, outcome: { user: alice } }),
    ),
  );
  const { lines, scraped } = await keep(calls, { decisionLog: { sample: 1 } });
  expect(lines.length).toBeGreaterThan(calls.length);
  expect(lines.join('') + scraped).not.toContain(CANARY);
});
