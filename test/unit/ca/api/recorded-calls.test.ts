import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseRequestAuthentication } from '../../../../policy/resources/request-authentication.ts';
import { encodeRequestAuthentication } from '../../../../policy/wire-policy.ts';
import { Recording } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { account, CallsRig, wireCall, wirePolicy } from '../../../support/calls-rig.ts';
import { cluster, orders } from '../../../support/policy/policy-objects.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { attestTestAgent } from '../../../support/test-agent.ts';

const WEEK_MS = 7 * 86_400_000;

async function reportedCalls(rig: CallsRig): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${rig.ca.ca.httpPort}/metrics`)).text();
  const lines = text.matchAll(/^countersign_ca_reported_calls_total\{outcome="(\w+)"\} (\d+)$/gm);
  return new Map([...lines].map(([, outcome = '', count]) => [outcome, Number(count)]));
}

describe('ReportCalls and ListCalls', () => {
  let rig: CallsRig;
  beforeAll(async () => {
    rig = await CallsRig.start();
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  const pathed = (pathTemplate: string) => ({ request: { method: 'GET', host: 'orders', pathTemplate } });
  const counts = async (): Promise<ReadonlyMap<string, bigint>> =>
    new Map((await rig.list()).map(({ request, count }) => [request?.pathTemplate ?? '', count]));

  test('what an agent reports is listed, its caller as it is registered', async () => {
    const rule = { policy: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders' }, rule: 1 };
    const call = wireCall({ ...pathed('/listed'), rule, dryRunRule: rule, wouldDeny: true, sourceNamespace: 'lies' });
    expect(await rig.report(call, call)).toMatchObject({ refused: 0 });
    expect(await rig.list()).toMatchObject([
      { ...call, count: 6n, sourceNamespace: 'shop', sourceServiceAccount: 'web', lastSeen: {} },
    ]);
    expect(await rig.list({ destinationNamespace: 'billing' })).toEqual([]);
  });

  test('one rule of each AUDIT policy is kept, and counted for its policy', async () => {
    const audit = (name: string, rule: number) => ({ policy: { kind: 'AuthorizationPolicy', namespace: 'shop', name }, rule });
    await rig.report(wireCall({ ...pathed('/audited'), auditRules: [audit('b', 0), audit('a', 2), audit('b', 1)] }));
    const found = (await rig.list()).find(({ request }) => request?.pathTemplate === '/audited');
    expect(found?.auditRules).toMatchObject([audit('a', 2), audit('b', 0)]);
  });

  test('braces that are no variable of ours are not recorded: callers could write templates', async () => {
    await rig.report(
      ...['/{a=**}', '/{name}', '/x{id}'].map((path, index) => wireCall({ ...pathed(path), count: BigInt(100 + index) })),
    );
    const found = (await rig.list()).filter(({ request }) => request?.pathTemplate === '');
    expect(found).toMatchObject([{ count: 303n }]);
  });

  test('a batch that is sent again counts once', async () => {
    const call = wireCall(pathed('/again'));
    await Promise.all([rig.reportAs('same', call), rig.reportAs('same', call)]);
    await rig.reportAs('same', call);
    expect((await counts()).get('/again')).toBe(3n);
  });

  test('calls to workloads of other agents are refused and counted, the others taken', async () => {
    const elsewhere = wireCall({ ...pathed('/refused'), destination: { spiffeId: account('billing', 'batch') } });
    const unknown = wireCall({ ...pathed('/refused'), destination: { spiffeId: 'spiffe://other.org/x' } });
    expect(await rig.report(elsewhere, wireCall(pathed('/taken')), unknown)).toMatchObject({ refused: 2 });
    expect([...(await counts()).keys()]).toContain('/taken');
    expect([...(await counts()).keys()]).not.toContain('/refused');
  });

  test('the registration says where the called workload is, not the agent', async () => {
    const destination = { spiffeId: account('shop', 'web'), namespace: 'billing', serviceAccount: 'root' };
    await rig.report(wireCall({ ...pathed('/placed'), destination }));
    const found = (await rig.list()).find(({ request }) => request?.pathTemplate === '/placed');
    expect(found?.destination).toMatchObject({ namespace: 'shop', serviceAccount: 'web' });
  });

  test('times after now, and from before what is kept, are those of the CA', async () => {
    const nowMs = rig.ca.clock.nowMs();
    await rig.report(wireCall({ ...pathed('/future'), lastSeen: timestampFromMs(nowMs + WEEK_MS) }));
    await rig.report(wireCall({ ...pathed('/past'), lastSeen: timestampFromMs(0) }));
    const times = new Map(
      (await rig.list()).map((each) => [each.request?.pathTemplate, each.lastSeen && timestampMs(each.lastSeen)]),
    );
    expect(times.get('/future')).toBeLessThan(nowMs + 60_000);
    expect(times.get('/past')).toBeGreaterThanOrEqual(nowMs - WEEK_MS);
  });

  test.each<[string, Parameters<typeof wireCall>[0]]>([
    ['calls[0].verdict', { verdict: 'maybe' }],
    ['calls[0].count', { count: 0n }],
    ['calls[0].count', { count: 2n ** 63n }],
    ['calls[0].last_seen', { lastSeen: undefined }],
    ['calls[0].source_spiffe_id', { sourceSpiffeId: 'web' }],
    ['calls[0].destination', { destination: undefined }],
    ['calls[0].destination.spiffe_id', { destination: {} }],
    ['calls[0].destination.port', { destination: { spiffeId: account('shop', 'orders'), port: 65_536 } }],
    ['calls[0].destination.namespace', { destination: { spiffeId: account('shop', 'orders'), namespace: 'a b' } }],
    ['calls[0].destination.selectors[1]', { destination: { spiffeId: account('shop', 'orders'), selectors: ['a', ''] } }],
    ['calls[0].reason', { reason: 'Because of "this"' }],
    ['calls[0].point', { point: 'a/b' }],
    ['calls[0].rule.policy', { rule: { rule: 1 } }],
    ['calls[0].rule.policy.kind', { rule: { policy: { kind: 'RequestAuthentication', namespace: 'a', name: 'b' } } }],
    ['calls[0].audit_rules[0].policy', { auditRules: [{ rule: 1 }] }],
    ['calls[0].audit_rules', { auditRules: Array.from({ length: 17 }, () => ({})) }],
    ['calls[0].rule.policy.namespace', { rule: { policy: { kind: 'AuthorizationPolicy', name: 'b' } } }],
  ])('refuses a faulty %s, and nothing of the report is taken', async (field, change) => {
    const before = await rig.list();
    const failure = await failureOf(rig.report(wireCall(change), wireCall(pathed('/never'))));
    expect(failure).toMatchObject({ code: 'invalid_argument', message: expect.stringContaining(`${field}: `) });
    expect(await rig.list()).toEqual(before);
  });

  test.each(['', 'x'.repeat(65), 'a b'])('refuses the batch ID "%s"', async (batchId) => {
    expect(await failureOf(rig.reportAs(batchId, wireCall()))).toMatchObject({ code: 'invalid_argument' });
  });

  test('what a caller can vary at will spoils no report: too long, or with control characters, it was not recorded', async () => {
    const request = { method: 'X'.repeat(600), host: 'a\nb', pathTemplate: '/\0', grpcService: 'spoiled' };
    await rig.report(wireCall({ request }));
    const found = (await rig.list()).find((each) => each.request?.grpcService === 'spoiled');
    expect(found?.request).toMatchObject({ method: '', host: '', pathTemplate: '' });
  });

  test('only agents report', async () => {
    const asAdmin = rig.ca.local(Recording).reportCalls({ batchId: 'x', calls: [] });
    expect(await failureOf(asAdmin)).toMatchObject({ code: 'permission_denied' });
    const nobody = rig.ca.remote().client(Recording).reportCalls({ batchId: 'x', calls: [] });
    expect(await failureOf(nobody)).toMatchObject({ code: 'permission_denied' });
  });

  test('metrics say what became of reported calls', async () => {
    const before = await reportedCalls(rig);
    await rig.report(wireCall({ count: 7n }), wireCall({ count: 5n, destination: { spiffeId: account('billing', 'batch') } }));
    const after = await reportedCalls(rig);
    const grown = (outcome: string): number => (after.get(outcome) ?? 0) - (before.get(outcome) ?? 0);
    expect(['stored', 'refused', 'folded'].map(grown)).toEqual([7, 5, 0]);
  });

  test('another agent reports calls to its own workloads only', async () => {
    const other = await attestTestAgent(rig.ca);
    const report = other.connection.client(Recording).reportCalls({ batchId: 'x', calls: [wireCall(pathed('/other'))] });
    expect(await report).toMatchObject({ refused: 1 });
  });
});

describe('Simulate', () => {
  let rig: CallsRig;
  const rules = (name: string, own: readonly object[], more: object = {}) => wirePolicy(orders(name, { ...more, rules: own }));
  const fromWeb = { from: [{ serviceAccounts: ['web'] }] };
  beforeAll(async () => {
    rig = await CallsRig.start({ yaml: 'authorization: { default: audit }' });
    await rig.report(
      wireCall({ count: 1200n }),
      wireCall({ count: 1n, reason: 'allowed_by_rule', point: 'access_log' }),
      wireCall({ sourceSpiffeId: account('billing', 'batch'), request: { method: 'GET', pathTemplate: '/export' }, count: 31n }),
      wireCall({ sourceSpiffeId: '', request: undefined, count: 2n }),
      wireCall({ sourceSpiffeId: '', verdict: 'deny', reason: 'user_missing', count: 500n }),
    );
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  test('lists each call whose verdict would change, how often, and the rule; equal calls are one', async () => {
    const result = await rig.policies.simulate({ set: [rules('callers', [fromWeb])] });
    expect(result).toMatchObject({ calls: 1234n, kinds: 3n, denied: 2, allowed: 0, unknown: 0, harmless: false });
    expect(result.changes).toMatchObject([
      {
        call: { sourceSpiffeId: account('billing', 'batch'), sourceNamespace: 'billing', count: 31n },
        before: { verdict: 'allow', reason: 'default_audit' },
        after: { verdict: 'deny', reason: 'no_rule_matches' },
      },
      { call: { sourceSpiffeId: '', count: 2n } },
    ]);
    const limited = await rig.policies.simulate({ set: [rules('callers', [fromWeb])], limit: 1 });
    expect(limited).toMatchObject({ denied: 2, changes: [{ call: { count: 31n } }] });
  });

  test('what depends on a header or a claim is unknown', async () => {
    const result = await rig.policies.simulate({ set: [rules('h', [{ to: [{ headers: [{ name: 'x', exact: 'y' }] }] }])] });
    expect(result).toMatchObject({ denied: 1, unknown: 2, harmless: false });
  });

  test('a RequestAuthentication that requires tokens makes requests unknown', async () => {
    const spec = { issuers: [{ issuer: 'https://login.example.org', audiences: ['orders'] }], tokens: 'Required' };
    const read = parseRequestAuthentication({
      kind: 'RequestAuthentication',
      metadata: { namespace: 'shop', name: 'people' },
      spec,
    });
    const name = { kind: 'RequestAuthentication', namespace: 'shop', name: 'people' };
    const people = { name, document: encodeRequestAuthentication(read) };
    const result = await rig.policies.simulate({ set: [people] });
    expect(result.unknown).toBeGreaterThan(0);
    expect(result).toMatchObject({ denied: 0, allowed: 0, harmless: false });
    expect(new Set(result.changes.map(({ after }) => after?.reason))).toEqual(new Set(['token_required']));
    expect(await rig.policies.simulate({ deleted: [name] })).toMatchObject({ unknown: 0, harmless: true });
  });

  test('a recorded template leaves unknown which of its paths was called', async () => {
    const to = (path: object) => [{ to: [{ paths: [path] }] }];
    const verdictOf = async (path: object) =>
      (await rig.policies.simulate({ set: [rules('p', to(path))] })).changes.find(({ call }) => call?.count === 1201n)?.after
        ?.verdict;
    expect(await verdictOf({ exact: '/orders/7' })).toBe('unknown');
    expect(await verdictOf({ template: '/orders/{id}' })).toBeUndefined();
    expect(await verdictOf({ prefix: '/other' })).toBe('deny');
  });

  test('goes from the policies that there are: set, changed and deleted', async () => {
    await rig.policies.setResources({ resources: [rules('callers', [fromWeb, { from: [{ namespaces: ['billing'] }] }])] });
    const unchanged = await rig.policies.simulate({});
    expect(unchanged).toMatchObject({ denied: 0, allowed: 0, unknown: 0, harmless: true, changes: [] });
    const narrowed = await rig.policies.simulate({ set: [rules('callers', [fromWeb])] });
    expect(narrowed).toMatchObject({ denied: 1, changes: [{ call: { count: 31n }, before: { rule: { rule: 1 } } }] });
    const gone = await rig.policies.simulate({ deleted: [{ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'callers' }] });
    expect(gone).toMatchObject({ allowed: 1, harmless: true });
    const shut = wirePolicy(cluster('shut', { action: 'DENY', rules: [{ when: 'source.namespace == "shop"' }] }));
    expect(await rig.policies.simulate({ set: [shut] })).toMatchObject({ denied: 1, changes: [{ call: { count: 1201n } }] });
    await rig.policies.deleteResources({ names: [{ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'callers' }] });
    expect(await rig.policies.simulate({ set: [rules('callers', [fromWeb])] })).toMatchObject({ denied: 2 });
  });

  test('policies of mode DryRun count when asked for, those that are there and those that come', async () => {
    const dryRun = rules('dry', [fromWeb], { mode: 'DryRun' });
    expect(await rig.policies.simulate({ set: [dryRun] })).toMatchObject({ denied: 0, harmless: true });
    expect(await rig.policies.simulate({ set: [dryRun], countsDryRun: true })).toMatchObject({ denied: 2, harmless: false });
    await rig.policies.setResources({ resources: [dryRun] });
    expect(await rig.policies.simulate({ countsDryRun: true })).toMatchObject({ denied: 2 });
    await rig.policies.deleteResources({ names: [{ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'dry' }] });
  });

  test('only calls seen since', async () => {
    const since = timestampFromMs(rig.ca.clock.nowMs() + 3_600_000);
    expect(await rig.policies.simulate({ set: [rules('p', [])], since })).toMatchObject({ calls: 0n, kinds: 0n, harmless: true });
  });

  test('a caller that is registered no longer is judged by what was known of it', async () => {
    const batchOnly = rules('b', [{ from: [{ namespaces: ['billing'] }] }]);
    const before = await rig.policies.simulate({ set: [batchOnly] });
    const { entries } = await rig.ca.local(Entry).listEntries({});
    const ids = entries.filter(({ spiffeId }) => spiffeId?.path.includes('/batch')).map(({ id }) => id);
    await rig.ca.local(Entry).batchDeleteEntry({ ids });
    expect(await rig.policies.simulate({ set: [batchOnly] })).toEqual(before);
    await rig.register('/elsewhere', 'billing', 'batch');
  });

  test.each<[string, object]>([
    ['set[0].document', { set: [{ name: { kind: 'AuthorizationPolicy', namespace: 'a', name: 'b' }, document: 'x' }] }],
    ['set[0].name.kind', { set: [{ name: { kind: 'Secret', name: 'b' }, document: '{}' }] }],
    ['deleted[0].kind', { deleted: [{ kind: '', name: 'b' }] }],
  ])('refuses a faulty %s', async (field, request) => {
    const failure = await failureOf(rig.policies.simulate(request));
    expect(failure).toMatchObject({ code: 'invalid_argument', message: expect.stringContaining(field) });
  });
});

describe('what policies decided in the last hour', () => {
  let rig: CallsRig;
  beforeAll(async () => {
    rig = await CallsRig.start();
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  const hits = async (): Promise<ReadonlyMap<string, readonly [bigint, bigint]>> => {
    const stop = new AbortController();
    const found = new Map<string, readonly [bigint, bigint]>();
    for await (const { statuses, complete } of rig.policies.watchStatus({}, { signal: stop.signal })) {
      for (const { name, hits: decided, wouldDenyHits } of statuses) found.set(name?.name ?? '', [decided, wouldDenyHits]);
      if (complete) break;
    }
    return found;
  };

  test('is counted by policy: hits, and what a policy of mode DryRun would have denied, by its rule or because none matches', async () => {
    const policy = { kind: 'AuthorizationPolicy', namespace: 'shop' };
    const rule = (name: string) => ({ policy: { ...policy, name }, rule: 0 });
    const specs = {
      enforced: { rules: [{}] },
      'dry-allow': { mode: 'DryRun', rules: [{ from: [{ serviceAccounts: ['nobody'] }] }] },
      'dry-deny': { mode: 'DryRun', action: 'DENY', rules: [{}] },
      elsewhere: { mode: 'DryRun', selector: { matchLabels: { app: 'catalog' } }, rules: [] },
    };
    await rig.policies.setResources({ resources: Object.entries(specs).map(([name, spec]) => wirePolicy(orders(name, spec))) });
    await rig.report(
      wireCall({ count: 5n, reason: 'allowed_by_rule', rule: rule('enforced') }),
      wireCall({ count: 2n, wouldDeny: true, rule: rule('enforced') }),
      wireCall({ count: 4n, wouldDeny: true, dryRunRule: rule('dry-deny') }),
      wireCall({ count: 9n, lastSeen: timestampFromMs(rig.ca.clock.nowMs() - 2 * 3_600_000), rule: rule('enforced') }),
    );
    expect(await hits()).toEqual(
      new Map([
        ['enforced', [7n, 0n]],
        ['dry-allow', [0n, 2n]],
        ['dry-deny', [0n, 4n]],
        ['elsewhere', [0n, 0n]],
      ]),
    );
  });
});
