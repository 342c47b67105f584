import { describe, expect, test } from 'vitest';
import { degradedFindings } from '../../../cli/check/cluster-check.ts';
import type { ClusterAccess } from '../../../cli/check/cluster-access.ts';
import { policyProblem, type DeclaredPolicy } from '../../../cli/check/policies.ts';
import { resourceFindings } from '../../../cli/check/resources.ts';
import { AUTHORIZATION_POLICY } from '../../../policy/resources/authorization-policy.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const { type } = AUTHORIZATION_POLICY;

type Condition = NonNullable<NonNullable<DeclaredPolicy['status']>['conditions']>[number];

const accepted: Condition = { type: 'Accepted', status: 'True', reason: 'Valid' };
const programmed: Condition = { type: 'Programmed', status: 'True', reason: 'Programmed' };

function policy(conditions: readonly Condition[], more: object = {}): DeclaredPolicy {
  const metadata = { name: 'orders', namespace: 'shop', generation: 2 };
  return { kind: type.kind, metadata, status: { observedGeneration: 2, conditions, ...more } };
}

const waiting = (seconds: number, status: string): Condition => ({
  ...programmed,
  status,
  reason: 'Programming',
  message: '1 of 2 nodes enforce it',
  lastTransitionTime: new Date(NOW_MS - seconds * 1000).toISOString(),
});

describe('what is said of a policy', () => {
  test.each([
    ['in force', policy([accepted, programmed]), undefined, ''],
    ['on its way for half a minute', policy([accepted, waiting(30, 'False')]), undefined, ''],
    [
      'on its way for long',
      policy([accepted, waiting(61, 'False')]),
      'error',
      'not in force on all nodes for more than a minute: 1 of 2',
    ],
    [
      'of which the CA has been told nothing for long',
      policy([accepted, waiting(61, 'Unknown')]),
      'error',
      'for more than a minute',
    ],
    ['of which nothing is known', policy([accepted]), 'error', 'nothing is said of the nodes'],
    [
      'not accepted',
      policy([{ ...accepted, status: 'False', message: 'spec.rules[0].when: is no CEL' }]),
      'error',
      'spec.rules[0].when',
    ],
    [
      'refused by a node',
      policy([accepted, { ...waiting(1, 'False'), reason: 'Refused', message: '1 could not read it' }]),
      'error',
      '1 could not',
    ],
    ['of an older generation', policy([accepted, programmed], { observedGeneration: 1 }), 'warning', 'generation 2'],
    [
      'at odds with others',
      policy([accepted, programmed], { conflictsWith: ['a', 'b', 'c', 'd'] }),
      'warning',
      'as a, b, c and 1 more',
    ],
  ])('%s', (_how, object, level, text) => {
    const findings = policyProblem(object, { type, nowMs: NOW_MS });
    expect(findings.map((finding) => finding.level)).toEqual(level === undefined ? [] : [level]);
    for (const finding of findings) {
      expect(finding).toMatchObject({ subject: 'AuthorizationPolicy shop/orders', text: expect.stringContaining(text) });
      expect(finding.remedy).toBeDefined();
    }
  });

  test('all three kinds are looked at', async () => {
    // The cast is sound for what is used of it.
    const cluster = {
      client: { find: () => Promise.resolve({}) },
      all: () => Promise.resolve([policy([{ ...accepted, status: 'False', message: 'no' }])]),
    } as unknown as ClusterAccess;
    const subjects = (await resourceFindings(cluster, NOW_MS)).map(({ subject }) => subject);
    for (const kind of ['AuthorizationPolicy', 'ClusterAuthorizationPolicy', 'RequestAuthentication'])
      expect(subjects).toContain(`${kind} shop/orders`);
  });
});

test('what a ready controller holds back is a warning', () => {
  const checks = {
    ca: { ok: true, reason: 'the CA is reached' },
    deletions: { ok: true, reason: 'degraded: 7 policies are kept' },
  };
  expect(degradedFindings(JSON.stringify({ ready: true, checks }), 'controller c')).toEqual([
    expect.objectContaining({ level: 'warning', subject: 'controller c', text: '7 policies are kept' }),
  ]);
  expect(degradedFindings('{}', 'controller c')).toEqual([]);
});
