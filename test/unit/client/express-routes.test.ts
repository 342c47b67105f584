import { expect, test } from 'vitest';
import { routingFault } from '../../../client/express-routes.ts';

/** As Express 4 makes it: who reads `router` is told that the name is not to be used. */
function expressFour(router: object): object {
  return {
    _router: router,
    get router(): never {
      throw new Error("'app.router' is deprecated!");
    },
  };
}

test('knows the routers of Express 4', () => {
  expect(routingFault(expressFour({ caseSensitive: true, stack: [] }))).toBeUndefined();
  expect(routingFault(expressFour({ caseSensitive: false, stack: [] }))).toMatchObject({ code: 'failed_precondition' });
  const layer = { name: 'router', handle: Object.assign(() => {}, { caseSensitive: false, stack: [{}] }) };
  expect(routingFault(expressFour({ caseSensitive: true, stack: [layer] }))?.message).toContain('caseSensitive: true');
});

test('believes nothing of an application whose routers it cannot find', () => {
  expect(routingFault({})).toMatchObject({ code: 'failed_precondition' });
  expect(routingFault({ router: {} })).toMatchObject({ code: 'failed_precondition' });
});

test('ends where a router uses itself', () => {
  const router: { caseSensitive: boolean; stack: object[] } = { caseSensitive: true, stack: [] };
  router.stack.push({ name: 'router', handle: router });
  expect(routingFault({ router })).toMatchObject({ code: 'failed_precondition' });
});
