import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compile } from '../../../policy/compile/snapshot.ts';
import { NO } from '../../../policy/compile/tri.ts';
import { decide } from '../../../policy/decide.ts';
import { explain } from '../../../policy/explain.ts';
import { loadAllExpressions } from '../../../policy/expressions/load.ts';
import type { CallField } from '../../../policy/model.ts';
import { simulate, verdictOf } from '../../../policy/simulate.ts';
import { call, policies, policy } from '../../support/policy/random.ts';

const expressions = await loadAllExpressions();
const defaultAction = fc.constantFrom('audit' as const, 'allow' as const, 'deny' as const);
const unrecorded = fc.subarray<CallField>(['request.headers', 'user', 'source.address', 'request.path', 'source.workload']);
const runs = { numRuns: 80 };

describe('properties over random policies and calls', () => {
  test('explain is of the same mind as decide: the deciding rule matches, and no earlier one of its action does', () => {
    fc.assert(
      fc.property(policies, call, defaultAction, (given, each, fallback) => {
        const snapshot = compile(given, { defaultAction: fallback, expressions });
        const explanation = explain(snapshot, each);
        expect(explanation.decision).toEqual(decide(snapshot, each));
        if (each.refused !== undefined) return;
        const enforced = explanation.policies.filter(({ mode, selects }) => mode === 'Enforce' && selects);
        const matching = (action: string) =>
          enforced
            .filter((each) => each.action === action)
            .flatMap(({ policy, rules }) =>
              rules.filter(({ outcome }) => outcome === 'matches').map(({ rule }) => ({ policy, rule })),
            );
        const [first] = [...matching('DENY'), ...(enforced.some(({ action }) => action === 'ALLOW') ? matching('ALLOW') : [])];
        const { policy, rule } = explanation.decision;
        expect(first).toEqual(policy === undefined ? undefined : { policy, rule });
      }),
      runs,
    );
  });

  test('a rule matches exactly when its fields say so', () => {
    fc.assert(
      fc.property(policies, call, (given, each) => {
        for (const { rules } of explain(compile(given, { expressions }), each).policies) {
          for (const { outcome, fields } of rules) {
            // Of each list of clauses, one must match whole.
            const clauses = Map.groupBy(fields, ({ path }) => /^(?:from|to)\[\d+\]|when/.exec(path)?.[0] ?? path);
            const lists = Map.groupBy(clauses, ([path]) => path.replace(/\[.*/, ''));
            const holds = [...lists.values()].every((list) =>
              list.some(([, parts]) => parts.every((part) => part.outcome === 'matches')),
            );
            expect(outcome === 'matches').toBe(holds);
          }
        }
      }),
      runs,
    );
  });

  test('a rule that the index leaves out matches no call of that caller, whatever is not recorded or not seen', () => {
    fc.assert(
      fc.property(policies, call, unrecorded, unrecorded, (given, each, lacking, hidden) => {
        const lacks = { ...each, unrecorded: new Set(lacking), unseen: new Set(hidden) };
        const { enforced } = compile(given, { expressions }).viewFor(each.destination);
        for (const index of [enforced.allow, enforced.deny]) {
          const candidates = index.candidates(lacks);
          expect(candidates).toEqual(index.rules.filter((rule) => candidates.includes(rule)));
          const others = index.rules.filter((rule) => !candidates.includes(rule));
          expect(others.filter((rule) => rule.test(lacks) !== NO)).toEqual([]);
        }
      }),
      runs,
    );
  });

  test('an incremental compilation decides as a whole one', () => {
    fc.assert(
      fc.property(
        policies,
        fc.array(policy, { maxLength: 4 }),
        fc.array(call, { minLength: 5, maxLength: 5 }),
        (given, changes, calls) => {
          let snapshot = compile(given, { expressions });
          const current = new Map(given.map((each) => [JSON.stringify(each.name), each]));
          for (const [index, change] of changes.entries()) {
            const key = JSON.stringify(change.name);
            const isDeletion = index % 2 === 1;
            snapshot = snapshot.with(isDeletion ? { deleted: [change.name] } : { set: [change] });
            if (isDeletion) current.delete(key);
            else current.set(key, change);
          }
          const whole = compile(current.values(), { expressions });
          for (const each of calls) expect(decide(snapshot, each)).toEqual(decide(whole, each));
        },
      ),
      runs,
    );
  });

  test('a recording that lacks nothing is simulated as it is decided', () => {
    fc.assert(
      fc.property(policies, call, defaultAction, (given, each, fallback) => {
        const snapshot = compile(given, { defaultAction: fallback, expressions });
        expect(verdictOf(snapshot, each).verdict).toBe(decide(snapshot, each).verdict);
      }),
      runs,
    );
  });

  test('what a recording lacks makes a verdict unknown, never another one', () => {
    fc.assert(
      fc.property(policies, call, unrecorded, (given, each, missing) => {
        const snapshot = compile(given, { expressions });
        const { verdict } = verdictOf(snapshot, { ...each, unrecorded: new Set(missing) });
        expect([decide(snapshot, each).verdict, 'unknown']).toContain(verdict);
      }),
      { numRuns: 150 },
    );
  });

  test('one more DENY policy lets no call in, one more ALLOW rule denies none that a policy allowed', () => {
    fc.assert(
      fc.property(policies, policy, call, (given, added, each) => {
        const fresh = { ...added, mode: 'Enforce' as const, name: { ...added.name, name: 'zz' } };
        const before = compile(given, { expressions });
        const was = decide(before, each);
        const is = decide(before.with({ set: [fresh] }), each);
        const keeps = {
          DENY: was.verdict === 'allow' || is.verdict === 'deny',
          ALLOW: was.reason !== 'allowed_by_rule' || is.verdict === 'allow',
          AUDIT: is.verdict === was.verdict,
        };
        expect(keeps[fresh.action]).toBe(true);
      }),
      runs,
    );
  });

  test('simulate names exactly the calls that are decided otherwise', () => {
    fc.assert(
      fc.property(policies, policy, fc.array(call, { maxLength: 5 }), (given, added, calls) => {
        const before = compile(given, { expressions });
        const after = before.with({ set: [added] });
        const recorded = calls.map((each, index) => ({ call: each, count: index, lastSeenAtMs: 0 }));
        const changed = simulate({ before, after, calls: recorded }).map(({ recorded: { call } }) => call);
        const expected = calls.filter((each) => decide(before, each).verdict !== decide(after, each).verdict).toReversed();
        expect(changed).toEqual(expected);
      }),
      runs,
    );
  });
});
