// Real nginx with the configuration of docs/nginx.md asks the agent about each request.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AuthorizationRig } from '../support/authorization-rig.ts';
import { canHaveNginx } from '../support/nginx.ts';
import { NginxRig } from '../support/nginx-rig.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';

const WEB = '/ns/shop/sa/web';

describe.skipIf(!canHaveNginx)('nginx auth_request (needs nginx, or apt-get)', () => {
  let agent: AuthorizationRig;
  let nginx: NginxRig;

  beforeAll(async () => {
    agent = await AuthorizationRig.start();
    await agent.enforce(DESTINATIONS.orders, {
      policies: [
        orders('web-reads', {
          rules: [
            { from: [{ spiffeIDs: [`spiffe://example.org${WEB}`] }], to: [{ methods: ['GET'], paths: [{ prefix: '/orders' }] }] },
          ],
        }),
      ],
    });
    const identity = agent.ca.issueX509Svid('/ns/shop/sa/orders');
    nginx = await NginxRig.start({ authz: agent.socket, identity, roots: agent.ca.rootPem });
  });

  afterAll(async () => {
    await nginx[Symbol.asyncDispose]();
    await agent[Symbol.asyncDispose]();
  });

  test('lets an allowed request through, and the service learns who calls', async () => {
    const answer = await nginx.ask({ target: '/orders/7?q=1' }, agent.ca.issueX509Svid(WEB));
    expect(answer).toMatchObject({ status: 200, body: 'served' });
    expect(nginx.served.at(-1)?.headers).toMatchObject({ 'x-caller': `spiffe://example.org${WEB}` });
    expect(agent.faults).toEqual([]);
  });

  test('answers 403 to what is not allowed', async () => {
    const served = nginx.served.length;
    const web = agent.ca.issueX509Svid(WEB);
    expect(await nginx.ask({ target: '/orders/7', method: 'DELETE' }, web)).toMatchObject({ status: 403 });
    expect(await nginx.ask({ target: '/admin' }, web)).toMatchObject({ status: 403 });
    expect(await nginx.ask({ target: '/orders/7' }, agent.ca.issueX509Svid('/ns/shop/sa/other'))).toMatchObject({ status: 403 });
    expect(nginx.served.length).toBe(served);
    expect(agent.decided.slice(-3).map(({ outcome }) => outcome.reason)).toEqual(Array(3).fill('no_rule_matches'));
  });
});
