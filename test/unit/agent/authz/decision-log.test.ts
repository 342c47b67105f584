import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, expect, test } from 'vitest';
import type { DecidedCall } from '../../../../agent/authz/decided-call.ts';
import { DecisionLog, type DecisionLogOptions } from '../../../../agent/authz/decision-log.ts';
import { hashSubject, loadHashKey } from '../../../../agent/authz/subject-hash.ts';
import { isIdentityError } from '../../../../core/errors.ts';
import type { Decision, PolicyName, User } from '../../../../policy/model.ts';
import { ALLOWED, decidedCall, DENIED, ORDERS_POLICY, type DecidedOptions } from '../../../support/decided-calls.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const HASH_KEY = Buffer.alloc(32, 7);
const clock = new ManualClock();
const folder = mkdtempSync(join(tmpdir(), 'decision-log-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A log that writes into `lines`. The process itself logs next to nothing. */
function logInto(lines: string[], options: Partial<DecisionLogOptions> = {}): DecisionLog {
  const log = pino({ level: 'error' }, { write: (line: string) => void lines.push(line) });
  return new DecisionLog({ log, clock, sample: 0, recordsPerSecond: 20, hashKey: HASH_KEY, ...options });
}

function logged(calls: readonly DecidedCall[], options: Partial<DecisionLogOptions> = {}): Record<string, unknown>[] {
  const lines: string[] = [];
  const log = logInto(lines, options);
  for (const call of calls) log.observe(call);
  log[Symbol.dispose]();
  // The cast is sound: pino writes objects.
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

const BASELINE: PolicyName = { kind: 'ClusterAuthorizationPolicy', namespace: '', name: 'baseline' };
const WOULD_DENY: Decision = {
  ...ALLOWED,
  dryRun: { verdict: 'deny', reason: 'denied_by_rule', policy: BASELINE, rule: 0, audits: [] },
};
const AUDITED: Decision = { ...ALLOWED, audits: [{ policy: BASELINE, rule: 2 }] };

test('a denial has what is needed to understand it, under one fixed message', () => {
  const decision: Decision = { ...DENIED, dryRun: ALLOWED, audits: [{ policy: BASELINE, rule: 2 }] };
  const [record] = logged([decidedCall({ decision, request: { target: '/orders/7?page=2' } })]);
  expect(record).toMatchObject({
    msg: 'call decided',
    component: 'decisions',
    point: 'ext_authz',
    verdict: 'deny',
    reason: 'no_rule_matches',
    status: 403,
    source: 'spiffe://example.org/web',
    destination: 'spiffe://example.org/orders',
    port: 8080,
    method: 'GET',
    host: 'orders.shop',
    path: '/orders/7',
    dryRun: { verdict: 'allow', reason: 'allowed_by_rule', policy: 'AuthorizationPolicy/shop/orders', rule: 1 },
    audits: ['ClusterAuthorizationPolicy//baseline#2'],
    durationMs: 0.25,
  });
});

test('an allowed call names the policy and the rule', () => {
  const [record] = logged([decidedCall()], { sample: 1 });
  expect(record).toMatchObject({ verdict: 'allow', policy: 'AuthorizationPolicy/shop/orders', rule: 1 });
  expect(ORDERS_POLICY.name).toBe('orders');
});

test('denials, would-be denials and what AUDIT rules match are logged always, the rest by sample', () => {
  const all = [ALLOWED, DENIED, WOULD_DENY, AUDITED].map((decision) => decidedCall({ decision }));
  expect(logged(all, { sample: 0 }).map(({ verdict }) => verdict)).toEqual(['deny', 'allow', 'allow']);
  expect(logged(all, { sample: 1 }).length).toBe(4);
});

test('what passed because policy is too old is logged always', () => {
  const stale = decidedCall({ outcome: { reason: 'policy_stale', decision: undefined } });
  expect(logged([stale])).toMatchObject([{ verdict: 'allow', reason: 'policy_stale' }]);
});

test('a process that is to say nothing says nothing of calls either, from when it is told so', () => {
  const lines: string[] = [];
  const log = pino({ level: 'fatal' }, { write: (line: string) => void lines.push(line) });
  const onLeftOut = (): void => expect.fail('nothing is left out that is not wanted');
  using decisions = logInto(lines, { log, sample: 1, recordsPerSecond: 1, onLeftOut });
  const say = (): void => [ALLOWED, DENIED].forEach((decision) => decisions.observe(decidedCall({ decision })));
  for (let count = 0; count < 100; count += 1) say();
  expect(lines).toEqual([]);
  log.level = 'error';
  say();
  expect(lines.length).toBe(2);
  log.level = 'silent';
  say();
  expect(lines.length).toBe(2);
});

test('the sample is the part that it says', () => {
  let next = 0;
  const random = (): number => (next++ % 100) / 100;
  const calls = Array.from({ length: 1_000 }, () => decidedCall());
  expect(logged(calls, { sample: 0.03, random }).length).toBe(30);
});

test('a flood of denials is cut off, told of, and hides no other occasion', () => {
  const flood = Array.from({ length: 1_000 }, () => decidedCall({ decision: DENIED }));
  const records = logged([...flood, decidedCall({ decision: WOULD_DENY }), decidedCall({ decision: AUDITED })]);
  expect(records.filter(({ verdict }) => verdict === 'deny').length).toBe(200);
  expect(records.filter(({ verdict }) => verdict === 'allow').length).toBe(2);
  expect(records.at(-1)).toMatchObject({ msg: 'decided calls left out of the log', leftOut: { denied: 800 } });
});

test('after a flood denials are logged again at once, as many a second as it says', () => {
  const lines: string[] = [];
  const leftOut: string[] = [];
  const log = logInto(lines, { onLeftOut: (occasion) => void leftOut.push(occasion) });
  for (let count = 0; count < 5_000; count += 1) log.observe(decidedCall({ decision: DENIED }));
  expect([lines.length, leftOut.length]).toEqual([200, 4_800]);
  clock.advance(1_000);
  for (let count = 0; count < 100; count += 1) log.observe(decidedCall({ decision: DENIED }));
  expect(lines.length).toBe(220);
  clock.advance(10_000);
  expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ leftOut: { denied: 4_880 } });
  clock.advance(60_000);
  expect(lines.length).toBe(221);
});

test('neither sub nor query nor header nor token gets into the log, whatever the call is like', () => {
  const CANARY = 'canary-5f2b';
  const user: User = {
    issuer: 'https://id.example.org',
    subject: CANARY,
    claims: { email: CANARY, nested: { of: [CANARY] } },
    actors: [{ subject: CANARY }],
  };
  const headers = [
    ['authorization', `Bearer ${CANARY}`],
    ['cookie', CANARY],
    [`x-${CANARY}`, CANARY],
  ] as const;
  const targets = [
    `/orders?token=${CANARY}`,
    `https://user:${CANARY}@orders.shop/orders?x=${CANARY}`,
    `/orders%3ftoken=${CANARY}`,
    `/orders%253ftoken=${CANARY}`,
    `/orders;jsessionid=${CANARY}`,
    `/orders#${CANARY}`,
    `/%00?${CANARY}`,
    `//user:pass@x/../..?${CANARY}`,
    `?${CANARY}`,
  ];
  const cases: readonly DecidedOptions[] = targets.flatMap((target) => [
    { request: { target, headers }, outcome: { user } },
    { request: { target, headers, authority: `me:${CANARY}@orders` }, decision: DENIED, outcome: { user } },
    {
      request: { target, headers },
      decision: DENIED,
      hasCall: false,
      outcome: { headers: new Map([['www-authenticate', CANARY]]) },
    },
  ]);
  const lines: string[] = [];
  const log = logInto(lines, { sample: 1 });
  for (const each of cases) log.observe(decidedCall(each));
  expect(lines.length).toBe(cases.length);
  expect(lines.join('')).not.toContain(CANARY);
});

test('users are told apart by a keyed hash', () => {
  const user = (subject: string): User => ({ issuer: 'https://id.example.org', subject, claims: {}, actors: [] });
  const records = logged(
    ['alice', 'bob', 'alice'].map((subject) => decidedCall({ outcome: { user: user(subject) } })),
    { sample: 1 },
  );
  const [one, other, again] = records.map(({ userHash }) => userHash);
  expect(one).toBe(createHmac('sha256', HASH_KEY).update('alice').digest('hex'));
  expect([again === one, other === one]).toEqual([true, false]);
  expect(records[0]?.['userIssuer']).toBe('https://id.example.org');
});

test('the key of the hashes comes from a file, so that starts can be compared, or is new', async () => {
  const file = join(folder, 'hash.key');
  writeFileSync(file, `${'k'.repeat(40)}\n`);
  expect(hashSubject('alice', await loadHashKey(file))).toBe(hashSubject('alice', Buffer.from('k'.repeat(40))));
  expect(await loadHashKey(undefined)).not.toEqual(await loadHashKey(undefined));
});

test.each(['short', 'missing'])('a key that is %s is refused, and not told', async (kind) => {
  const file = join(folder, `${kind}.key`);
  if (kind === 'short') writeFileSync(file, 'not-long-enough');
  const failure: unknown = await loadHashKey(file).catch((error: unknown) => error);
  expect(isIdentityError(failure, 'failed_precondition')).toBe(true);
  expect(String(failure)).not.toContain('not-long-enough');
});

test('what a client may send is cut: no record is longer than 4 KiB', () => {
  const request = { method: 'M'.repeat(9_000), target: `/${'a'.repeat(9_000)}\n%00` };
  const lines: string[] = [];
  logInto(lines).observe(decidedCall({ decision: DENIED, request }));
  expect(lines.length).toBe(1);
  expect(lines[0]?.length).toBeLessThan(4_096);
});
