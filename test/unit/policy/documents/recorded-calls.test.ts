import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compile } from '../../../../policy/compile/snapshot.ts';
import { decide } from '../../../../policy/decide.ts';
import { consequencesOf } from '../../../../policy/documents/affected-calls.ts';
import { parseRecordedCalls, recordedCallOf, recordedLine } from '../../../../policy/documents/recorded-calls.ts';
import type { RecordedParts } from '../../../../policy/documents/recorded-calls.ts';
import { holdsForAllOrNone } from '../../../../policy/documents/recorded-path.ts';
import { loadAllExpressions } from '../../../../policy/expressions/load.ts';
import { normalizePath } from '../../../../policy/normalize/path.ts';
import { parsePolicy } from '../../../../policy/parse-policy.ts';
import { parseRequestAuthentication } from '../../../../policy/resources/request-authentication.ts';
import type { RequestAuthentication } from '../../../../policy/resources/request-authentication.ts';
import { withAuthentications } from '../../../../policy/token-demands.ts';
import { suggest } from '../../../../policy/suggest.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { orders } from '../../../support/policy/policy-objects.ts';
import { thrownBy } from '../../../support/thrown-by.ts';

const expressions = await loadAllExpressions();
const web = { spiffeId: 'spiffe://example.org/ns/shop/sa/web', namespace: 'shop', serviceAccount: 'web' };
const toOrders = { namespace: 'shop', serviceAccount: 'orders', labels: { app: 'orders' }, port: 8443 };
const BASE = {
  source: web,
  destination: toOrders,
  method: 'GET',
  path: '/orders/{id}',
  host: 'orders',
  verdict: 'allow',
  count: 3,
  lastSeen: '2026-01-31T12:00:00Z',
};
const linesOf = (...changes: readonly object[]): string =>
  changes.map((change) => JSON.stringify({ ...BASE, ...change })).join('\n');

describe('reading', () => {
  test('what a line says, and what it does not', () => {
    const [recorded, connection] = parseRecordedCalls(
      linesOf({}, { method: undefined, path: undefined, host: undefined, verdict: 'deny' }),
    );
    expect(recorded).toMatchObject({ count: 3, lastSeenAtMs: Date.UTC(2026, 0, 31, 12), observed: 'allow' });
    expect(recorded?.call.request).toMatchObject({ method: 'GET', path: '/orders/{id}', host: 'orders' });
    expect([...(recorded?.call.unrecorded ?? [])]).toEqual(['source.address', 'request.headers', 'user']);
    expect(connection?.call.request).toBeUndefined();
    expect([...(connection?.call.unrecorded ?? [])]).toEqual(['source.address']);
    expect(connection?.call.destination).toBe(recorded?.call.destination);
  });

  test.each([
    ['no JSON', '{', 'line 1: is no JSON'],
    ['no object', '[]', 'line 1: must be a JSON object'],
    ['an unknown field', linesOf({ verdit: 'x' }), 'line 1, verdit: unknown key'],
    ['a verdict', linesOf({ verdict: 'maybe' }), 'line 1, verdict: must be "allow" or "deny"'],
    ['a count', linesOf({ count: 0 }), 'line 1, count: must be from 1'],
    ['a time', linesOf({ lastSeen: 'soon' }), 'line 1, lastSeen: must be a time'],
    ['a SPIFFE ID', linesOf({ source: { spiffeId: 'web' } }), 'line 1, source.spiffeId:'],
    ['an address', linesOf({ source: { address: '1.2.3' } }), 'line 1, source.address: must be an IP address'],
    ['an ambiguous path', linesOf({ path: '/a%2fb' }), 'line 1, path: must be as a recording has it'],
    ['an ambiguous host', linesOf({ host: 'a b' }), 'line 1, host: must be as a recording has it'],
    ['the second line', linesOf({}, { count: 'x' }), 'line 2, count: expected a whole number'],
  ])('refuses %s', (_title, text, expected) => {
    expect(thrownBy(() => parseRecordedCalls(text))).toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(expected),
    });
  });

  test('braces that are no variable make a path one that was not recorded', () => {
    const [recorded] = parseRecordedCalls(linesOf({ path: '/{a=**}' }));
    expect(recorded?.call.unrecorded).toContain('request.path');
    expect(recorded?.call.request?.path).toBe('/');
    expect(suggest(parseRecordedCalls(linesOf({ path: '/{a=**}' })))).toMatchObject({ policies: [], left: [{ count: 3 }] });
  });

  test('empty lines are passed over', () => {
    expect(parseRecordedCalls('\n\n')).toEqual([]);
  });
});

describe('a recorded template stands for many paths', () => {
  test.each([
    [{ exact: '/orders/7' }, false],
    [{ exact: '/orders' }, true],
    [{ exact: '/catalog/7' }, true],
    [{ prefix: '/orders' }, true],
    [{ prefix: '/orders/7' }, false],
    [{ prefix: '/orders/7/8' }, true],
    [{ template: '/orders/{x}' }, true],
    [{ template: '/{a}/7' }, false],
    [{ template: '/orders/{x=**}' }, true],
    [{ template: '/{a=**}' }, true],
    [{ suffix: '.css' }, false],
    [{ regex: '/orders/[0-9]+' }, false],
  ])('%j', (clause, expected) => {
    const all = { exact: undefined, prefix: undefined, suffix: undefined, template: undefined, regex: undefined };
    expect(holdsForAllOrNone({ ...all, ...clause }, '/orders/{id}')).toBe(expected);
  });

  test('where a clause holds for all or none, it says of any of the paths what it says of the template', () => {
    const segment = fc.constantFrom('a', 'b', '7');
    const recorded = fc.array(fc.oneof(segment, fc.constant('{id}')), { minLength: 1, maxLength: 4 });
    const written = fc.array(fc.oneof(segment, fc.constant('{x}')), { minLength: 1, maxLength: 4 });
    const kind = fc.constantFrom('exact', 'prefix', 'template', 'suffix');
    fc.assert(
      fc.property(recorded, written, kind, segment, (parts, own, field, value) => {
        const path = `/${parts.join('/')}`;
        const text = `/${own.join('/')}`;
        const clause = { [field]: field === 'template' ? text : text.replaceAll('{x}', 'a') };
        const policy = parsePolicy(orders('p', { rules: [{ to: [{ paths: [clause] }] }] }));
        const read = policy.rules[0]?.to?.[0]?.paths?.[0];
        if (read === undefined || !holdsForAllOrNone(read, path)) return;
        const snapshot = compile([policy], { defaultAction: 'deny' });
        const verdictOf = (each: string): string => {
          const [first] = parseRecordedCalls(linesOf({ path: each }));
          return first === undefined ? '' : decide(snapshot, first.call).verdict;
        };
        expect(verdictOf(path.replaceAll('{id}', value))).toBe(verdictOf(path));
      }),
      { numRuns: 300 },
    );
  });
});

describe('consequences', () => {
  const outcome = (policies: readonly object[], ...changes: readonly object[]) => {
    const before = compile([], { defaultAction: 'audit', expressions });
    const { denied, unknown, allowed, isHarmless } = consequencesOf({
      before,
      after: before.with({ set: policies.map(parsePolicy) }),
      calls: parseRecordedCalls(linesOf(...changes)),
    });
    return [denied.length, unknown.length, allowed.length, isHarmless];
  };

  test.each<[string, object, readonly object[], unknown]>([
    ['who is left out is denied', { rules: [{ from: [{ serviceAccounts: ['batch'] }] }] }, [{}], [1, 0, 0, false]],
    ['who is named is not', { rules: [{ from: [{ serviceAccounts: ['web'] }] }] }, [{}], [0, 0, 0, true]],
    ['a header was not recorded', { rules: [{ to: [{ headers: [{ name: 'x', exact: 'y' }] }] }] }, [{}], [0, 1, 0, false]],
    ['one path of many', { rules: [{ to: [{ paths: [{ exact: '/orders/7' }] }] }] }, [{}], [0, 1, 0, false]],
    ['a condition on the path', { rules: [{ when: 'request.path == "/orders/7"' }] }, [{}], [0, 1, 0, false]],
    ['other destinations', { rules: [] }, [{ destination: { namespace: 'billing' } }], [0, 0, 0, true]],
    ['what was denied hurts nobody', { rules: [{}] }, [{ verdict: 'deny' }], [0, 0, 0, true]],
  ])('%s', (_title, spec, changes, expected) => {
    expect(outcome([orders('p', spec)], ...changes)).toEqual(expected);
  });

  test.each<[string, object, object, unknown]>([
    ['an ALLOW of others', { rules: [{ from: [{ serviceAccounts: ['batch'] }] }] }, {}, [0, 1, 0, false]],
    ['an ALLOW of the caller', { rules: [{ from: [{ serviceAccounts: ['web'] }] }] }, {}, [0, 0, 0, true]],
    ['a DENY', { action: 'DENY', rules: [{}] }, {}, [0, 1, 0, false]],
    ['a DENY of others', { action: 'DENY', rules: [{ from: [{ serviceAccounts: ['batch'] }] }] }, {}, [0, 0, 0, true]],
    [
      'a DENY of an ambiguous request',
      { action: 'DENY', rules: [] },
      { method: undefined, path: undefined, host: undefined, refused: 'path_null' },
      [0, 1, 0, false],
    ],
    ['an AUDIT', { action: 'AUDIT', rules: [{}] }, {}, [0, 0, 0, true]],
    ['labels that are said to be none', { rules: [] }, { destination: { namespace: 'shop', selectors: [] } }, [0, 0, 0, true]],
    ['another namespace', { rules: [] }, { destination: { namespace: 'billing' } }, [0, 0, 0, true]],
  ])('a policy that selects pods, where the line does not say of which the call was: %s', (_title, spec, change, expected) => {
    expect(outcome([orders('p', spec)], { destination: { namespace: 'shop', serviceAccount: 'orders' }, ...change })).toEqual(
      expected,
    );
  });

  test('calls to workloads that differ in selectors only are told once', () => {
    const of = (tag: string) => ({ destination: { ...toOrders, labels: { app: 'orders', version: tag } } });
    const before = compile([]);
    const after = before.with({ set: [parsePolicy(orders('p', { rules: [] }))] });
    const calls = parseRecordedCalls(
      linesOf(of('1'), { ...of('2'), count: 4, lastSeen: '2026-02-01T12:00:00Z' }, { path: '/x' }),
    );
    const { denied } = consequencesOf({ before, after, calls });
    expect(denied.map(({ recorded }) => [recorded.call.request?.path, recorded.count, recorded.lastSeenAtMs])).toEqual([
      ['/orders/{id}', 7, Date.UTC(2026, 1, 1, 12)],
      ['/x', 3, Date.UTC(2026, 0, 31, 12)],
    ]);
  });

  test('DryRun counts when asked for', () => {
    const after = compile([parsePolicy(orders('p', { mode: 'DryRun', rules: [] }))]);
    const calls = parseRecordedCalls(linesOf({}));
    expect(consequencesOf({ before: after, after, calls }).denied).toHaveLength(0);
    expect(consequencesOf({ before: after, after, calls, countsDryRun: true }).denied).toHaveLength(1);
  });
});

describe('a RequestAuthentication', () => {
  const people = (spec: object = {}, name = 'people') =>
    parseRequestAuthentication({
      kind: 'RequestAuthentication',
      metadata: { namespace: 'shop', name },
      spec: { issuers: [{ issuer: 'https://login.example.org', audiences: ['orders', 'carts'] }], ...spec },
    });
  const outcome = (before: readonly RequestAuthentication[], after: readonly RequestAuthentication[], change: object = {}) => {
    const snapshot = compile([], { expressions });
    const { denied, unknown, allowed, isHarmless } = consequencesOf({
      before: snapshot,
      after: snapshot,
      calls: parseRecordedCalls(linesOf(change)),
      authentications: { before, after },
    });
    return [denied.length, unknown.map(({ after }) => after.reason), allowed.length, isHarmless];
  };
  const HARMLESS = [0, [], 0, true];
  const TOLD = [0, ['token_required'], 0, false];
  const required = { tokens: 'Required' };
  const ofOrders = { selector: { matchLabels: { app: 'orders' } } };
  const ofCarts = { selector: { matchLabels: { app: 'carts' } } };
  const narrow = { issuers: [{ issuer: 'https://login.example.org', audiences: ['orders'] }] };

  test.each<[string, readonly object[], readonly object[], object, unknown]>([
    ['that requires tokens', [], [required], {}, TOLD],
    ['that required them before', [required], [required], {}, HARMLESS],
    ['that does not', [], [{}], {}, HARMLESS],
    ['that is gone', [required], [], {}, HARMLESS],
    ['of these pods', [], [{ ...required, ...ofOrders }], {}, TOLD],
    ['of other pods', [], [{ ...required, ...ofCarts }], {}, HARMLESS],
    ['of pods that the line does not tell', [], [{ ...required, ...ofCarts }], { destination: { namespace: 'shop' } }, TOLD],
    ['of another namespace', [], [required], { destination: { namespace: 'billing' } }, HARMLESS],
    ['for fewer audiences', [{}], [narrow], {}, TOLD],
    ['for more audiences', [narrow], [{}], {}, HARMLESS],
    ['and a connection', [], [required], { method: undefined, path: undefined, host: undefined }, HARMLESS],
  ])('%s', (_title, before, after, change, expected) => {
    const read = (specs: readonly object[]) => specs.map((spec) => people(spec));
    expect(outcome(read(before), read(after), change)).toEqual(expected);
  });

  test('is replaced by its name', () => {
    const edit = { set: [people(required)], deleted: [{ namespace: 'shop', name: 'gone' }] };
    const { after } = withAuthentications([people(), people({}, 'other'), people({}, 'gone')], edit);
    expect(after.map(({ meta, tokens }) => [meta.name, tokens])).toEqual([
      ['other', 'Optional'],
      ['people', 'Required'],
    ]);
  });
});

describe('what is suggested', () => {
  const call = fc.record({
    source: fc.constantFrom(web, { spiffeId: 'spiffe://example.org/host/db1' }, { spiffeId: 'spiffe://partner.example/gw' }),
    destination: fc.constantFrom(
      toOrders,
      { namespace: 'shop', serviceAccount: 'catalog', port: 80 },
      { spiffeId: 'spiffe://example.org/host/db', port: 5432 },
    ),
    method: fc.constantFrom('GET', 'POST', 'DELETE'),
    path: fc.constantFrom('/orders', '/orders/{id}', '/orders/{id}/items', '/health', '/'),
  });

  test('allows every call that was recorded and none that was not', () => {
    fc.assert(
      fc.property(fc.array(call, { minLength: 1, maxLength: 6 }), call, (wanted, other) => {
        const snapshot = compile(suggest(parseRecordedCalls(linesOf(...wanted))).policies.map(parsePolicy), {
          defaultAction: 'deny',
        });
        const verdicts = parseRecordedCalls(linesOf(...wanted, other)).map((each) => decide(snapshot, each.call).verdict);
        const isWanted = wanted.some((each) => JSON.stringify(each) === JSON.stringify(other));
        expect(verdicts).toEqual([...wanted.map(() => 'allow'), isWanted ? 'allow' : 'deny']);
      }),
      { numRuns: 200 },
    );
  });
});

test('a template is a normalised path', () => {
  expect(normalizePath('/orders/{id}')).toBe('/orders/{id}');
});

describe('a line that is written', () => {
  const shared = {
    source: { spiffeId: parseSpiffeId('spiffe://example.org/web'), namespace: 'shop' },
    destination: { namespace: 'shop', serviceAccount: 'orders', port: 80, selectors: new Set(['k8s:pod-label:app:orders']) },
    verdict: 'allow',
    count: 3,
    lastSeen: Date.parse('2026-01-31T12:00:00Z'),
  } as const;

  test.each<[string, Partial<RecordedParts>]>([
    ['a request', { method: 'GET', path: normalizePath('/orders/{id}'), host: 'orders' }],
    ['a path that has to be encoded', { method: 'GET', path: normalizePath('/a%20b/%C3%BC/%3F/50%25') }],
    ['a gRPC call', { method: 'POST', path: normalizePath('/a/b'), host: 'h', grpc: { service: 'a', method: 'b' } }],
    ['a connection', {}],
    ['a request of which nothing is known', { isRequest: true }],
    ['a request of which only the host is known', { host: 'orders' }],
    ['an ambiguous request', { isRequest: true, refused: 'path_encoded_slash', verdict: 'deny' }],
    ['calls that were decided one way and the other', { method: 'GET', isMixed: true }],
    ['rules', { method: 'GET', decidedBy: [{ policy: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' }, rule: 1 }] }],
    ['no selectors', { destination: { namespace: 'shop', selectors: new Set() } }],
    ['selectors that are not known', { destination: { namespace: 'shop', selectors: new Set() }, lacksSelectors: true }],
  ])('is read back: %s', (_title, own) => {
    const parts: RecordedParts = { ...shared, ...own };
    expect(parseRecordedCalls(recordedLine(parts))).toEqual([recordedCallOf(parts)]);
  });

  test('of an ambiguous request nothing else is judged, and no policy that somebody suggests names it', () => {
    const calls = parseRecordedCalls(recordedLine({ ...shared, isRequest: true, refused: 'path_null' }));
    const before = compile([]);
    const after = before.with({ set: [parsePolicy(orders('p', { rules: [{}] }))] });
    expect(consequencesOf({ before, after, calls }).denied).toMatchObject([{ after: { reason: 'path_null' } }]);
    expect(suggest(calls)).toMatchObject({ policies: [], left: [{ count: 3 }] });
  });

  test('a path that was not recorded makes verdicts unknown, and is not taken for another one', () => {
    const calls = parseRecordedCalls(recordedLine({ ...shared, method: 'GET' }));
    const rules = [{ to: [{ paths: [{ exact: '/' }] }] }];
    const after = compile([parsePolicy(orders('p', { rules }))]);
    expect(consequencesOf({ before: compile([]), after, calls }).unknown).toHaveLength(1);
    expect(suggest(calls)).toMatchObject({ policies: [], left: [{ count: 3 }] });
  });
});
