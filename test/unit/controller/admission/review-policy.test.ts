import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { admissionAnswer } from '../../../../controller/admission/admission-review.ts';
import { createPolicyReviewers } from '../../../../controller/admission/review-policy.ts';
import type { AdmissionRequest, Review } from '../../../../controller/admission/review.ts';
import { PolicyAssessor } from '../../../../controller/policies/policy-assessment.ts';
import type { ProposedChange } from '../../../../controller/policies/policy-client.ts';
import { PolicyIndex } from '../../../../controller/policies/policy-index.ts';
import { readPolicyObject } from '../../../../controller/policies/policy-object.ts';
import { PolicyOverlaps } from '../../../../controller/policies/policy-overlaps.ts';
import { Turns } from '../../../../controller/turns.ts';
import { systemClock } from '../../../../core/clock.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { SimulateResponseSchema, type ChangeSchema } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { policyObject, type TestPolicy } from '../../../support/policy-world.ts';

type ChangeFields = Exclude<MessageInitShape<typeof ChangeSchema>, { $typeName: unknown }>;
type Simulation = MessageInitShape<typeof SimulateResponseSchema> | IdentityError;

const WEB: TestPolicy = { name: 'orders', spec: { rules: [{ from: [{ serviceAccounts: ['web'] }] }] } };
const REFUSES = { annotations: { 'countersign.dev/refuse-if-denies': 'true' } };
const SHOP = 'spiffe://example.org/ns/shop/sa/';

function change(more: Partial<ChangeFields> = {}): ChangeFields {
  return {
    call: {
      sourceSpiffeId: `${SHOP}cart`,
      destination: { spiffeId: `${SHOP}orders` },
      request: { method: 'GET', pathTemplate: '/orders/{id}' },
      count: 1204n,
      lastSeen: { seconds: BigInt(Date.UTC(2026, 10, 22, 21, 10) / 1000) },
    },
    before: { verdict: 'allow' },
    after: { verdict: 'deny', reason: 'no_rule_matches' },
    ...more,
  };
}

const CUTS_OFF: Simulation = { kinds: 7n, calls: 5000n, denied: 1, changes: [change()] };

/** Reviewers that know some policies, and a CA that answers this. */
function rig(simulation: Simulation = { harmless: true }, known: readonly TestPolicy[] = []) {
  const asked: ProposedChange[] = [];
  const index = new PolicyIndex('main');
  const overlaps = new PolicyOverlaps();
  for (const each of known) {
    const read = readPolicyObject(policyObject(each));
    if (read.policy !== undefined) overlaps.put(read.policy);
    index.put(read);
  }
  const reviewers = createPolicyReviewers({
    index,
    overlaps,
    assessor: new PolicyAssessor(),
    turns: new Turns(systemClock),
    simulate: (proposed) => {
      asked.push(proposed);
      return simulation instanceof IdentityError
        ? Promise.reject(simulation)
        : Promise.resolve(create(SimulateResponseSchema, simulation));
    },
  });
  const ask = async (given: TestPolicy, before?: TestPolicy, operation?: AdmissionRequest['operation']): Promise<Review> => {
    const kind = given.kind ?? 'AuthorizationPolicy';
    const review = await reviewers[kind]?.(requestOf(given, before, operation), new AbortController().signal);
    if (review === undefined) throw new Error('nobody judges it');
    return review;
  };
  return { ask, asked, index };
}

function requestOf(given: TestPolicy, before?: TestPolicy, operation?: AdmissionRequest['operation']): AdmissionRequest {
  const object = policyObject(given);
  const how = operation ?? (before === undefined ? 'CREATE' : 'UPDATE');
  const place = { uid: '1', group: 'countersign.dev', version: 'v1alpha1', kind: object.kind, name: given.name };
  const old = how === 'DELETE' ? object : before && policyObject(before);
  return {
    ...place,
    operation: how,
    namespace: 'shop',
    subresource: '',
    object: how === 'DELETE' ? null : object,
    oldObject: old,
  };
}

describe('what is wrong with a policy itself', () => {
  test.each([
    ['an unknown field', { rulez: [] }, 'spec.rulez', 'unknown key'],
    [
      'a catastrophic regular expression',
      { rules: [{ to: [{ paths: [{ regex: '((a{100}){100}){100}' }] }] }] },
      'spec.rules[0].to[0].paths[0].regex',
      'regular expression',
    ],
    ['endless CEL', { rules: [{ when: `${'['.repeat(60)}1${']'.repeat(60)} == []` }] }, 'spec.rules[0].when', 'condition'],
    ['CEL of a wrong type', { rules: [{ when: 'request.path' }] }, 'spec.rules[0].when', 'not true or false'],
  ])('%s refuses it', async (_what, spec, field, text) => {
    const { ask, asked } = rig();
    const { faults } = await ask({ name: 'orders', spec });
    expect(faults).toEqual([{ field, message: expect.stringContaining(text) }]);
    expect(asked).toEqual([]);
  });

  test('what was wrong before does not keep the rest from being repaired', async () => {
    const bad = { name: 'orders', spec: { rules: [{ when: 'request.path' }] } };
    const { faults, warnings } = await rig().ask({ ...bad, spec: { ...bad.spec, mode: 'DryRun' } }, bad);
    expect(faults).toEqual([]);
    expect(warnings[0]).toContain('still wrong, as before: spec.rules[0].when');
  });

  test('what never matches, never decides or is contradicted is told', async () => {
    const deny = { name: 'no-web', spec: { action: 'DENY', rules: [{ from: [{ serviceAccounts: ['web'] }] }] } };
    const { ask } = rig({ harmless: true }, [deny, { name: 'all', spec: { rules: [{}] } }]);
    expect((await ask(WEB)).warnings[0]).toContain('says the opposite of the same calls as AuthorizationPolicy shop/no-web');
    const shadowed = await ask({ name: 'cart', spec: { rules: [{ from: [{ serviceAccounts: ['cart'] }] }] } });
    expect(shadowed.warnings).toEqual([expect.stringContaining('never decides anything: AuthorizationPolicy shop/all')]);
    const never = await ask({ name: 'never', spec: { rules: [{ to: [{ methods: ['get'] }] }] } });
    expect(never.warnings[0]).toContain('never matches');
  });
});

describe('what a policy would do to recorded calls', () => {
  test('harmless: nothing is said, and the CA was asked about the policy as it will be', async () => {
    const { ask, asked, index } = rig();
    index.putNamespace({ name: 'shop', labels: { tier: 'core' } });
    const spec = { namespaceSelector: { matchLabels: { tier: 'core' } }, rules: [{}] };
    expect(await ask({ kind: 'ClusterAuthorizationPolicy', name: 'core', spec })).toEqual({ faults: [], warnings: [] });
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({ deleted: [], countsDryRun: false, set: [{ name: { name: 'core' } }] });
    expect(JSON.parse(asked[0]?.set[0]?.document ?? '')).toMatchObject({ namespaces: ['shop'] });
  });

  test('calls that would be denied are named', async () => {
    const { faults, warnings } = await rig(CUTS_OFF).ask(WEB);
    expect(faults).toEqual([]);
    expect(warnings).toEqual([
      'cuts off calls that were seen (7 kinds of calls are recorded)',
      `${SHOP}cart → ${SHOP}orders GET /orders/{id} would be denied (1204 times, last 2026-11-22T21:10Z; no rule allows it)`,
    ]);
  });

  test('gRPC, connections, callers without an identity, rules and what is unknown are said as they are', async () => {
    const destination = { spiffeId: `${SHOP}orders`, port: 5432 };
    const rule = { rule: 2, policy: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders' } };
    const changes = [
      change({ call: { destination, count: 1n }, after: { verdict: 'unknown', reason: 'not_recorded', rule } }),
      change({
        call: { sourceSpiffeId: 'x', destination, request: { grpcService: 'shop.v1.Orders', grpcMethod: 'Get' }, count: 2n },
      }),
    ];
    const { warnings } = await rig({ kinds: 1n, denied: 1, unknown: 1, changes }).ask(WEB);
    expect(warnings.slice(1)).toEqual([
      `x → ${SHOP}orders shop.v1.Orders/Get would be denied (2 times, last at an unknown time; no rule allows it)`,
      `a caller without an identity → ${SHOP}orders port 5432 may be denied, by what is not recorded (once, last at an unknown time; rule 2 of AuthorizationPolicy shop/orders)`,
    ]);
  });

  test('many calls with long names come within what the API server passes on', async () => {
    const id = `spiffe://example.org/${'long/'.repeat(300)}end`;
    const request = { method: 'POST', pathTemplate: `/${'p'.repeat(900)}` };
    const call = { sourceSpiffeId: id, destination: { spiffeId: id }, request, count: 1n };
    const changes = Array.from({ length: 100 }, () => change({ call }));
    const review = await rig({ kinds: 500n, denied: 300, changes }).ask(WEB);
    const answer = admissionAnswer(requestOf(WEB), review);
    // The cast is sound: the answer was made just now.
    const { warnings } = answer['response'] as { warnings: readonly string[] };
    expect(warnings.length).toBeLessThanOrEqual(10);
    for (const warning of warnings) expect(warning.length).toBeLessThanOrEqual(256);
    expect(Buffer.byteLength(warnings.join(''))).toBeLessThan(4096);
    expect(warnings.at(-1)).toContain('and 293 more');
    expect(warnings.at(-1)).toMatch(/: kubectl .* exec -i countersign-ca-0 -- countersign policy simulate -f - < FILE$/);
    expect(warnings[1]).toContain('would be denied');
  });

  test.each([
    ['AuthorizationPolicy', {}],
    ['RequestAuthentication', { issuers: [{ issuer: 'https://login.test', audiences: ['orders'] }] }],
  ] as const)('%s: another value of the annotation is refused, a name that means nothing is told', async (kind, spec) => {
    const annotated = (annotations: Readonly<Record<string, string>>): TestPolicy => ({
      kind,
      name: 'orders',
      annotations,
      spec,
    });
    const { faults } = await rig().ask(annotated({ 'countersign.dev/refuse-if-denies': 'yes' }));
    const field = 'metadata.annotations[countersign.dev/refuse-if-denies]';
    expect(faults).toEqual([{ field, message: 'must be "true" or "false", is "yes"' }]);
    const review = await rig().ask(annotated({ 'countersign.dev/refuse-if-deny': 'true', 'team.example/x': 'y' }));
    expect(review.faults).toEqual([]);
    expect(review.warnings).toEqual([expect.stringContaining('the annotation countersign.dev/refuse-if-deny means nothing')]);
  });

  test('an annotated policy is refused, for what is unknown as well', async () => {
    const { faults } = await rig(CUTS_OFF).ask({ ...WEB, ...REFUSES });
    const field = 'metadata.annotations[countersign.dev/refuse-if-denies]';
    expect(faults).toEqual([
      { field, message: expect.stringContaining('cuts off calls') },
      { field, message: expect.stringContaining('GET /orders/{id} would be denied') },
    ]);
    const unknown = change({ after: { verdict: 'unknown' } });
    expect((await rig({ unknown: 1, changes: [unknown] }).ask({ ...WEB, ...REFUSES })).faults).toHaveLength(2);
    expect((await rig().ask({ ...WEB, ...REFUSES })).faults).toEqual([]);
    expect((await rig(CUTS_OFF).ask({ ...WEB, annotations: { 'countersign.dev/refuse-if-denies': 'false' } })).faults).toEqual(
      [],
    );
  });

  test('with the CA away a policy is stored with a warning, an annotated one is refused for now', async () => {
    const away = new IdentityError('unavailable', 'connection refused');
    const text = 'what it does to recorded calls is not known: connection refused';
    expect(await rig(away).ask(WEB)).toEqual({ faults: [], warnings: [text] });
    expect(await rig(away).ask({ ...WEB, ...REFUSES })).toMatchObject({ faults: [{ message: text }], retryable: true });
  });

  test('one of mode DryRun is told what it would deny if it were enforced, never refused, and not told what others deny', async () => {
    const dry = { ...WEB, ...REFUSES, spec: { mode: 'DryRun', rules: [] } };
    const { ask, asked } = rig(CUTS_OFF);
    const { faults, warnings } = await ask(dry);
    expect(faults).toEqual([]);
    expect(warnings[0]).toContain('if it were enforced, it would cut off calls');
    expect(asked[0]?.countsDryRun).toBe(true);
    const rule = { rule: 0, policy: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'another' } };
    const ofAnother = change({ after: { verdict: 'deny', reason: 'denied_by_rule', rule } });
    expect((await rig({ denied: 1, changes: [ofAnother] }).ask(dry)).warnings).toEqual([]);
  });
});

describe('a deletion', () => {
  test('is judged by what would become of calls without the policy', async () => {
    const { ask, asked } = rig({ ...CUTS_OFF, allowed: 2 });
    const { faults, warnings } = await ask(WEB, undefined, 'DELETE');
    expect(faults).toEqual([]);
    expect(asked[0]).toMatchObject({ set: [], deleted: [{ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders' }] });
    expect(warnings[1]).toContain('would be denied');
    expect(warnings.at(-1)).toBe('recorded calls that are denied now would be allowed: 2 kinds');
  });

  test('of an annotated policy that calls depend on is refused; what cannot be read goes', async () => {
    const { ask } = rig(CUTS_OFF);
    expect((await ask({ ...WEB, ...REFUSES }, undefined, 'DELETE')).faults).toHaveLength(2);
    expect((await ask({ name: 'orders', spec: { rulez: 1 } }, undefined, 'DELETE')).faults).toEqual([]);
  });
});

describe('a RequestAuthentication', () => {
  const spec = { issuers: [{ issuer: 'https://login.example.org', audiences: ['orders'] }], tokens: 'Required' };
  const people: TestPolicy = { kind: 'RequestAuthentication', name: 'people', spec };

  test('that requires tokens cannot be judged by recorded calls', async () => {
    const { ask, asked } = rig(CUTS_OFF);
    expect((await ask(people)).warnings).toEqual([expect.stringContaining('calls without a token will be denied')]);
    expect((await ask({ ...people, ...REFUSES })).faults).toHaveLength(1);
    expect(await ask({ ...people, spec: { ...spec, tokens: 'Optional' } })).toEqual({ faults: [], warnings: [] });
    expect(asked).toEqual([]);
  });

  test('with an unknown field is refused', async () => {
    const { faults } = await rig().ask({ ...people, spec: { ...spec, token: 1 } });
    expect(faults).toEqual([{ field: 'spec.token', message: expect.stringContaining('unknown key') }]);
  });
});
