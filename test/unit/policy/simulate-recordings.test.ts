// Random calls, decided whole, and what a simulation makes of what is recorded of them.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compile } from '../../../policy/compile/snapshot.ts';
import type { Snapshot } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import { consequencesOf } from '../../../policy/documents/affected-calls.ts';
import { recordedCallOf } from '../../../policy/documents/recorded-calls.ts';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import type { Call } from '../../../policy/model.ts';
import type { NormalizedPath } from '../../../policy/normalize/path.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { recordedPathOf } from '../../../policy/path-inference.ts';
import type { RecordedCall } from '../../../policy/simulate.ts';
import { orders } from '../../support/policy/policy-objects.ts';
import { call, policies, policy } from '../../support/policy/random.ts';
import { callOf } from '../../support/policy/table-types.ts';

const expressions = await loadAllExpressions();
const defaultAction = fc.constantFrom('audit' as const, 'deny' as const);
const runs = { numRuns: 300 };

/** What an agent records of a call that it decided by a snapshot. */
function recordingOf(snapshot: Snapshot, full: Call, lacksSelectors: boolean): RecordedCall {
  const { request, source, destination, refused } = full;
  const { spiffeId, namespace, serviceAccount } = source;
  const known = { ...(spiffeId && { spiffeId }), ...(namespace && { namespace }), ...(serviceAccount && { serviceAccount }) };
  const path = request && recordedPathOf(request.path);
  const parts = recordedCallOf({
    source: known,
    destination: lacksSelectors ? { ...destination, selectors: new Set<string>() } : destination,
    isRequest: request !== undefined || refused !== undefined,
    ...(refused === undefined ? {} : { refused }),
    ...(request === undefined ? {} : { method: request.method, grpc: request.grpc }),
    // The cast is sound: braces are kept.
    ...(path === undefined ? {} : { path: path as NormalizedPath }),
    ...(request === undefined || request.host === '' ? {} : { host: request.host }),
    verdict: decide(snapshot, full).verdict,
    count: 1,
    lastSeen: 0,
  });
  return { ...parts, lacksSelectors };
}

const seen = call.map((each): Call => {
  const { source, destination, request, refused, user, atMs } = each;
  const full = { source, destination, ...(request && { request }), ...(refused && { refused }), atMs };
  // A token comes with a request.
  return { ...full, ...(user === undefined || full.request === undefined ? {} : { user }) };
});
const change = fc.record({ set: fc.array(policy, { maxLength: 2 }), deleted: fc.nat({ max: 5 }) });

describe('random policies and calls', () => {
  test('no call that a change cuts off is hidden by what is not recorded of it', () => {
    const outcomes = new Map<string, number>();
    const properties = [policies, change, fc.array(seen, { minLength: 4, maxLength: 8 }), defaultAction, fc.boolean()] as const;
    fc.assert(
      fc.property(...properties, (given, { set, deleted }, calls, fallback, lacksSelectors) => {
        const before = compile(given, { defaultAction: fallback, expressions });
        const after = before.with({ set, deleted: given.slice(deleted, deleted + 1).map(({ name }) => name) });
        for (const full of calls) {
          const { denied, unknown, isHarmless } = consequencesOf({
            before,
            after,
            calls: [recordingOf(before, full, lacksSelectors)],
          });
          const isCutOff = decide(before, full).verdict === 'allow' && decide(after, full).verdict === 'deny';
          const told = `${isCutOff ? 'cut off' : 'as before'}: ${denied.length + unknown.length > 0 ? 'told' : 'silent'}`;
          outcomes.set(told, (outcomes.get(told) ?? 0) + 1);
          expect(isCutOff && (denied.length + unknown.length === 0 || isHarmless)).toBe(false);
        }
      }),
      runs,
    );
    // Of both there were many.
    expect(outcomes.get('cut off: told')).toBeGreaterThan(30);
    expect(outcomes.get('as before: silent')).toBeGreaterThan(300);
  });

  test('the same policies, written again, change nothing, and neither does an AUDIT policy', () => {
    const properties = [policies, policy, fc.array(seen, { minLength: 4, maxLength: 8 }), defaultAction, fc.boolean()] as const;
    fc.assert(
      fc.property(...properties, (given, added, calls, fallback, lacksSelectors) => {
        const options = { defaultAction: fallback, expressions };
        const before = compile(given, options);
        const again = compile(given, options);
        const audit = again.with({ set: [{ ...added, action: 'AUDIT', name: { ...added.name, name: 'zz' } }] });
        const recorded = calls.map((full) => recordingOf(before, full, lacksSelectors));
        const [same, audited] = [again, audit].map((after) => consequencesOf({ before, after, calls: recorded }));
        const none = { denied: [], allowed: [], unknown: [], isHarmless: true };
        expect([same, audited]).toEqual([none, none]);
      }),
      runs,
    );
  });
});

describe('a verdict that hangs on a header before and after', () => {
  const header = { to: [{ headers: [{ name: 'x-tenant', exact: 'acme' }] }] };
  const before = compile([parsePolicy(orders('tenants', { rules: [header] }))], { defaultAction: 'deny', expressions });
  const recorded = (observed?: 'allow' | 'deny', isMixed = false): RecordedCall => {
    const { request, ...rest } = callOf(['web', 'GET /orders', '']);
    const lacking = { ...rest, ...(request && { request }), unrecorded: new Set(['request.headers' as const, 'user' as const]) };
    return { call: lacking, count: 1, lastSeenAtMs: 0, ...(observed && { observed }), isMixed };
  };
  const outcome = (set: readonly object[], calls: readonly RecordedCall[]) => {
    const { denied, unknown, allowed, isHarmless } = consequencesOf({
      before,
      after: before.with({ set: set.map(parsePolicy) }),
      calls,
    });
    return [denied.length, unknown.length, allowed.length, isHarmless];
  };
  const tenants = (spec: object) => orders('tenants', spec);

  test('a relation to a user who was not recorded is not known', () => {
    const relations = [{ user: 'user:{user.subject}', relation: 'viewer', object: 'shop:orders' }];
    expect(outcome([orders('tenants', { rules: [{ relations }] })], [recorded('allow')])).toEqual([0, 1, 0, false]);
  });

  test.each<[string, object, RecordedCall, unknown]>([
    ['an AUDIT policy', orders('audit', { action: 'AUDIT', rules: [{}] }), recorded('allow'), [0, 0, 0, true]],
    ['one more ALLOW rule', tenants({ rules: [header, { to: [{ methods: ['PUT'] }] }] }), recorded('allow'), [0, 0, 0, true]],
    [
      'a DENY policy about others',
      orders('x', { action: 'DENY', rules: [{ to: [{ methods: ['PUT'] }] }] }),
      recorded('allow'),
      [0, 0, 0, true],
    ],
    [
      'a DENY policy about it',
      orders('x', { action: 'DENY', rules: [{ to: [{ methods: ['GET'] }] }] }),
      recorded('allow'),
      [1, 0, 0, false],
    ],
    [
      'a DENY policy by another header',
      orders('x', { action: 'DENY', rules: [{ to: [{ headers: [{ name: 'y', present: true }] }] }] }),
      recorded('allow'),
      [0, 1, 0, false],
    ],
    [
      'another value',
      tenants({ rules: [{ to: [{ headers: [{ name: 'x-tenant', exact: 'b' }] }] }] }),
      recorded('allow'),
      [0, 1, 0, false],
    ],
    [
      'another value, for a call that was denied',
      tenants({ rules: [{ to: [{ headers: [{ name: 'x-tenant', exact: 'b' }] }] }] }),
      recorded('deny'),
      [0, 1, 0, true],
    ],
    [
      'another value, for calls that were denied and allowed',
      tenants({ rules: [{ to: [{ headers: [{ name: 'x-tenant', exact: 'b' }] }] }] }),
      recorded('deny', true),
      [0, 1, 0, false],
    ],
    ['one value less of two', tenants({ rules: [] }), recorded(), [1, 0, 0, false]],
    [
      'a DENY that can match no request',
      orders('x', { action: 'DENY', rules: [{ to: [{ methods: ['get'], headers: [{ name: 'y', present: true }] }] }] }),
      recorded('allow'),
      [0, 0, 0, true],
    ],
  ])('%s', (_title, changed, each, expected) => {
    expect(outcome([changed], [each])).toEqual(expected);
  });
});
