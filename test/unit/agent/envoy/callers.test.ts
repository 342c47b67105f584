import { create } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { anyCaller } from '../../../../agent/envoy/rbac/callers.ts';
import { all, any, type Condition, header, principal } from '../../../../agent/envoy/rbac/condition.ts';
import { permissionsOf, principalsOf } from '../../../../agent/envoy/rbac/encode.ts';
import { PolicySchema, RBACSchema } from '../../../../proto/gen/envoy/config/rbac/v3/rbac_pb.ts';
import { interpretRbac } from '../../../support/policy/rbac-interpreter.ts';

const UNLIMITED = { maxCost: Infinity };
const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '/'), maxLength: 4 }).map((each) => `spiffe://a.b/${each}`);
const one: fc.Arbitrary<Condition> = fc.oneof(
  text.map((exact) => principal({ exact })),
  text.map((prefix) => principal({ prefix })),
  text.map((each) => principal({ regex: `${each.replaceAll('.', String.raw`\.`)}[!-.0-~]*` })),
  text.map((exact) => any(principal({ exact }), principal({ prefix: `${exact}/` }))),
  text.map((exact) => all(principal({ exact }), header('x-a'))),
  text.map((suffix) => principal({ suffix: suffix.slice(-2) })),
);

function holds(condition: Condition, peer: string): boolean {
  const policy = create(PolicySchema, {
    permissions: permissionsOf({ kind: 'constant', holds: true }),
    principals: principalsOf(condition),
  });
  const call = { peer, address: undefined, port: undefined, headers: new Map([[':path', ['/']]]) };
  return interpretRbac(create(RBACSchema, { policies: { p: policy } }), call).isAllowed;
}

test('callers in one expression, or in several, are those that each of them means', () => {
  let held = 0;
  fc.assert(
    fc.property(
      fc.array(one, { minLength: 1, maxLength: 20, size: 'max' }),
      fc.array(text, { minLength: 10 }),
      fc.constantFrom(70, Infinity),
      (list, peers, maxCost) => {
        for (const peer of peers) {
          const expected = holds(any(...list), peer);
          expect(holds(anyCaller(list, { maxCost }), peer)).toBe(expected);
          held += Number(expected);
        }
      },
    ),
    { numRuns: 300 },
  );
  expect(held).toBeGreaterThan(300);
});

test('a hundred callers are one comparison, and none that a default Envoy rejects where cost is limited', () => {
  const hundred = Array.from({ length: 100 }, (_, index) =>
    principal({ exact: `spiffe://example.org/ns/shop/sa/client-${index}` }),
  );
  expect(anyCaller(hundred, UNLIMITED).kind).toBe('principal');
  const limited = anyCaller(hundred, { maxCost: 70 });
  const parts = limited.kind === 'any' ? limited.of : [];
  expect(parts.length).toBeGreaterThan(1);
  expect(parts.length).toBeLessThan(20);
});

test('nobody is nobody, one is compared as it is, and few are expressions that every Envoy takes', () => {
  expect(anyCaller([], UNLIMITED)).toEqual(any());
  const [one, other] = ['a', 'b'].map((name) => principal({ exact: `spiffe://${name.repeat(40)}.example/${name}` }));
  if (one === undefined || other === undefined) throw new Error('two were made');
  expect(anyCaller([one, one], UNLIMITED)).toEqual(one);
  expect(anyCaller([other, one], UNLIMITED)).toEqual(any(one, other));
  const two = anyCaller([principal({ exact: 'spiffe://a/b' }), principal({ prefix: 'spiffe://a/c/' })], UNLIMITED);
  expect(two).toEqual(principal({ regex: 'spiffe://a/(?:b|c/(?s:.*))' }));
});
