import { describe, expect, test } from 'vitest';
import { compile } from '../../../policy/compile/snapshot.ts';
import { expressionFaults } from '../../../policy/expression-faults.ts';
import { decide } from '../../../policy/decide.ts';
import type { RelationQuery } from '../../../policy/model.ts';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { CachedRelations } from '../../../policy/relations/cache.ts';
import { decideAsync } from '../../../policy/relations/source.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { orders } from '../../support/policy/policy-objects.ts';
import { callOf } from '../../support/policy/table-types.ts';

const relation = { user: 'user:{user.subject}', relation: 'viewer', object: 'order:{path.id}' };
const rule = { to: [{ paths: [{ template: '/orders/{id}' }] }], relations: [relation] };
const allowing = compile([parsePolicy(orders('a', { rules: [rule] }))], { defaultAction: 'deny' });
const denying = compile([parsePolicy(orders('a', { action: 'DENY', rules: [rule] }))], { defaultAction: 'allow' });
const call = callOf(['web', 'GET /orders/7', '', { user: 'alice' }]);
const query = { user: 'user:alice', relation: 'viewer', object: 'order:7' };

class Store {
  readonly asked: RelationQuery[] = [];
  readonly answer: boolean | Error;

  constructor(answer: boolean | Error) {
    this.answer = answer;
  }

  check(queries: readonly RelationQuery[]): Promise<readonly boolean[]> {
    this.asked.push(...queries);
    const { answer } = this;
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(queries.map(() => answer));
  }
}

describe('decideAsync', () => {
  test('asks what could change the decision, and only that', async () => {
    const store = new Store(true);
    expect(decide(allowing, call)).toMatchObject({ verdict: 'deny', pending: [query] });
    expect(await decideAsync(allowing, call, store)).toMatchObject({ verdict: 'allow', rule: 0 });
    await decideAsync(allowing, callOf(['web', 'GET /other', '', { user: 'alice' }]), store);
    expect(store.asked).toEqual([query]);
  });

  test.each([
    ['ALLOW, related', allowing, true, 'allow'],
    ['ALLOW, not related', allowing, false, 'deny'],
    ['ALLOW, the store fails', allowing, new Error('down'), 'deny'],
    ['DENY, related', denying, true, 'deny'],
    ['DENY, not related', denying, false, 'allow'],
    ['DENY, the store fails', denying, new Error('down'), 'deny'],
  ] as const)('%s', async (_title, snapshot, answer, verdict) => {
    expect((await decideAsync(snapshot, call, new Store(answer))).verdict).toBe(verdict);
  });

  test.each(['/orders/*', '/orders/a%23member', '/orders/a%20b'])('%s is not asked about', async (path) => {
    const store = new Store(true);
    expect((await decideAsync(allowing, callOf(['web', `GET ${path}`, '', { user: 'alice' }]), store)).verdict).toBe('deny');
    expect(store.asked).toEqual([]);
  });
});

describe('CachedRelations', () => {
  test('keeps answers for a while, and not more than so many', async () => {
    const clock = new ManualClock();
    const store = new Store(true);
    const cache = new CachedRelations(store, { clock, ttlMs: 1000, maxEntries: 2 });
    const of = (object: string): RelationQuery => ({ ...query, object });
    expect(await cache.check([of('a'), of('b')])).toEqual([true, true]);
    expect(await cache.check([of('a'), of('c')])).toEqual([true, true]);
    expect(store.asked.map(({ object }) => object)).toEqual(['a', 'b', 'c']);
    await cache.check([of('b')]);
    expect(store.asked).toHaveLength(4);
    clock.advance(1001);
    await cache.check([of('b')]);
    expect(store.asked).toHaveLength(5);
  });

  test('a source that leaves questions unanswered has failed: nothing of it is kept, and a DENY rule holds', async () => {
    const asked: number[] = [];
    const source = {
      check: (queries: readonly RelationQuery[]): Promise<readonly boolean[]> => {
        asked.push(queries.length);
        return Promise.resolve([]);
      },
    };
    const cache = new CachedRelations(source, { clock: new ManualClock(), ttlMs: 1000, maxEntries: 2 });
    for (let round = 0; round < 2; round += 1) expect((await decideAsync(denying, call, cache)).verdict).toBe('deny');
    expect(asked).toEqual([1, 1]);
  });
});

test('a variable that no path template of the rule has does not compile; one of another template of it does', async () => {
  const faultsOf = (paths: readonly object[], object: string) =>
    expressionFaults(parsePolicy(orders('a', { rules: [{ to: [{ paths }], relations: [{ ...relation, object }] }] })));
  const templates = [{ template: '/orders/{id}' }, { template: '/files/{rest=**}' }, { exact: '/{name}' }];
  expect(await faultsOf(templates, 'order:{path.id}/{path.rest}')).toEqual([]);
  for (const [paths, name] of [
    [templates, 'name'],
    [[{ prefix: '/' }], 'id'],
  ] as const) {
    expect(await faultsOf(paths, `order:{path.${name}}`)).toEqual([
      {
        path: 'spec.rules[0].relations[0].object',
        message: `no path template of the rule has a variable {${name}}, so {path.${name}} is never filled in`,
      },
    ]);
  }
});
