import { create } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { anyByPath } from '../../../../agent/envoy/rbac/by-path.ts';
import { all, any, type Condition, header, path } from '../../../../agent/envoy/rbac/condition.ts';
import { permissionsOf, principalsOf } from '../../../../agent/envoy/rbac/encode.ts';
import { PolicySchema, RBACSchema } from '../../../../proto/gen/envoy/config/rbac/v3/rbac_pb.ts';
import { interpretRbac } from '../../../support/policy/rbac-interpreter.ts';

const text = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 4 }).map((each) => `/${each}`);
const one: fc.Arbitrary<Condition> = fc.oneof(
  text.map((prefix) => path({ prefix })),
  text.map((exact) => path({ exact })),
  text.map((prefix) => all(path({ prefix }), header('x-a'))),
  text.map((suffix) => all(path({ suffix }), header('x-a'))),
  fc.tuple(text, text).map(([exact, prefix]) => all(any(path({ exact }), path({ prefix })), header('x-a'))),
  fc.tuple(text, text).map(([exact, suffix]) => any(path({ exact }), path({ suffix }))),
);

function holds(condition: Condition, headers: ReadonlyMap<string, readonly string[]>): boolean {
  const policy = create(PolicySchema, {
    permissions: permissionsOf({ kind: 'constant', holds: true }),
    principals: principalsOf(condition),
  });
  const rules = create(RBACSchema, { policies: { p: policy } });
  return interpretRbac(rules, { peer: undefined, address: undefined, port: undefined, headers }).isAllowed;
}

test('conditions in groups hold where any of them does', () => {
  let held = 0;
  fc.assert(
    fc.property(fc.array(one, { minLength: 1, maxLength: 30, size: 'max' }), fc.array(text, { minLength: 10 }), (list, paths) => {
      for (const each of paths) {
        for (const more of [[], [['x-a', ['1']] as const]]) {
          const headers = new Map([[':path', [each]] as const, ...more]);
          const expected = holds(any(...list), headers);
          expect(holds(anyByPath(list), headers)).toBe(expected);
          held += Number(expected);
        }
      }
    }),
    { numRuns: 500 },
  );
  expect(held).toBeGreaterThan(500);
});
