import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parsePolicy } from '../../../../policy/parse-policy.ts';
import { encodePolicy } from '../../../../policy/wire-policy.ts';
import { Policies } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { EXCHANGE, IssuerHost, TokenRig, type ClientCertificate } from '../../../support/token-rig.ts';
import { TestIssuer } from '../../../support/user-tokens.ts';

const ID = 'spiffe://example.org';
let host: IssuerHost;
let people: TestIssuer;
let rig: TokenRig;
let web: ClientCertificate;

beforeAll(async () => {
  host = await IssuerHost.start((request, response) => {
    const metadata = { issuer: people.name, jwks_uri: `${people.name}/jwks` };
    response.end(JSON.stringify(request.url === '/jwks' ? { keys: [people.jwk] } : metadata));
  });
  people = new TestIssuer({ name: host.url });
  rig = await TokenRig.start(`
  issuers: [{ issuer: "${host.url}" }]
  rules:
    - { workloads: [${ID}/web], addressedAs: [web], audiences: [orders, elsewhere, "${ID}/orders"] }
    - { workloads: [${ID}/orders], addressedAs: [orders], audiences: [stock] }`);
  await rig.ca.local(Entry).batchCreateEntry({ entries: ['web', 'orders'].map(entryOf) });
  web = await rig.certificateOf('/web');
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

function entryOf(name: string) {
  return {
    spiffeId: { trustDomain: 'example.org', path: `/${name}` },
    parentId: { trustDomain: 'example.org', path: '/node' },
    selectors: [{ type: 'unix', value: `user:${name}` }],
    countersignWorkload: { namespace: 'shop', serviceAccount: name },
  };
}

const allow = (spec: object): object => ({ action: 'ALLOW', rules: [{ from: [{ serviceAccounts: ['batch'] }] }], ...spec });
const ORDERS = { targetRefs: [{ kind: 'ServiceAccount', name: 'orders' }] };
const WEB = { from: [{ serviceAccounts: ['web'] }] };

/** The answer to an exchange while these policies hold. */
async function exchanged(specs: readonly object[], audience: string): Promise<unknown> {
  const policies = specs.map((spec, index) =>
    parsePolicy({ kind: 'AuthorizationPolicy', metadata: { name: `p${index}`, namespace: 'shop' }, spec }),
  );
  await rig.ca.local(Policies).setResources({
    resources: policies.map((policy) => ({ name: policy.name, document: encodePolicy(policy) })),
  });
  const nowSeconds = Math.floor(Date.now() / 1000);
  const token = people.sign({ iss: people.name, sub: 'alice', aud: 'web', exp: nowSeconds + 600, iat: nowSeconds });
  const { status, body } = await rig.exchange(token, web, { audience });
  await rig.ca.local(Policies).deleteResources({ names: policies.map(({ name }) => name) });
  return status === 200 ? status : [status, body['error'], body['error_description']];
}

const REFUSED = [
  400,
  'invalid_target',
  expect.stringContaining('authorization policy denies spiffe://example.org/web every call'),
];

describe(`a token (${EXCHANGE}) for a call that policy`, () => {
  test.each<readonly [string, readonly object[], unknown]>([
    ['says nothing of', [], 200],
    ['allows', [allow({ ...ORDERS, rules: [WEB] })], 200],
    ['allows to others', [allow(ORDERS)], REFUSED],
    ['denies', [{ ...ORDERS, action: 'DENY', rules: [WEB] }], REFUSED],
    ['denies in part', [{ ...ORDERS, action: 'DENY', rules: [{ ...WEB, to: [{ methods: ['DELETE'] }] }] }], 200],
    ['allows in part', [allow({ ...ORDERS, rules: [{ ...WEB, to: [{ paths: [{ exact: '/x' }] }] }] })], 200],
    ['allows to some users', [allow({ ...ORDERS, rules: [{ from: [{ users: [{ roles: ['buyer'] }] }] }] })], 200],
    ['may allow, by labels that the CA does not know', [allow(ORDERS), allow({ selector: { matchLabels: { app: 'a' } } })], 200],
    ['denies, in a rehearsal', [{ ...ORDERS, mode: 'DryRun', action: 'DENY', rules: [{}] }], 200],
  ])('%s', async (_title, specs, answer) => {
    expect(await exchanged(specs, 'orders')).toEqual(answer);
    expect(await exchanged(specs, `${ID}/orders`)).toEqual(answer);
    // No workload of ours is called so.
    expect(await exchanged(specs, 'elsewhere')).toBe(200);
  });
});
