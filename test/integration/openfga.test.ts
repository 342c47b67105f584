// Relations answered by a real OpenFGA server, and what becomes of decisions when it is away or slow.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { decode } from '../../core/decode.ts';
import { isIdentityError } from '../../core/errors.ts';
import { compile, type Snapshot } from '../../policy/compile/snapshot.ts';
import type { Call, RelationQuery } from '../../policy/model.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { decideAsync, type RelationSource } from '../../policy/relations/source.ts';
import { openFgaConfig } from '../../runtime/openfga/config.ts';
import { openOpenFga } from '../../runtime/openfga/relations.ts';
import { ask, setPolicy, startAskingSystem, until } from '../support/asking-system.ts';
import { Forwarder } from '../support/forwarder.ts';
import { startOpenFga, type OpenFga } from '../support/openfga.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { callOf } from '../support/policy/table-types.ts';
import { isInstalled } from '../support/toolchain.ts';

const KEY = 'canary-of-this-test';
const TYPES = [
  { type: 'user' },
  {
    type: 'team',
    relations: { member: { this: {} } },
    metadata: { relations: { member: { directly_related_user_types: [{ type: 'user' }] } } },
  },
  {
    type: 'order',
    relations: { viewer: { this: {} }, blocked: { this: {} } },
    metadata: {
      relations: {
        viewer: { directly_related_user_types: [{ type: 'user' }, { type: 'team', relation: 'member' }] },
        blocked: { directly_related_user_types: [{ type: 'user' }] },
      },
    },
  },
] as const;
const viewerOf = (object: string, user = 'user:alice'): RelationQuery => ({ user, relation: 'viewer', object });

const rule = (relation: string, user = 'user:{user.subject}') => ({
  to: [{ paths: [{ template: '/orders/{id}' }] }],
  relations: [{ user, relation, object: 'order:{path.id}' }],
});
const allowing = compile([parsePolicy(orders('viewers', { rules: [rule('viewer')] }))], { defaultAction: 'deny' });
const denying = compile([parsePolicy(orders('blocked', { action: 'DENY', rules: [rule('blocked')] }))], {
  defaultAction: 'allow',
});
const both = compile(
  [
    parsePolicy(orders('viewers', { rules: [rule('viewer')] })),
    parsePolicy(orders('blocked', { action: 'DENY', rules: [rule('blocked')] })),
  ],
  { defaultAction: 'deny' },
);
/** A port that takes connections and never says anything. */
async function silentPort(resources: DisposableStack): Promise<number> {
  const server = createServer((socket) => resources.defer(() => void socket.destroy()));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  resources.defer(() => void server.close());
  // The cast is sound: it listens on TCP.
  return (server.address() as AddressInfo).port;
}

const callFor = (id: string): Call => callOf(['web', `GET /orders/${id}`, '', { user: 'alice' }]);

describe.skipIf(!isInstalled('go'))('OpenFGA (needs go)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'openfga-'));
  let server: OpenFga;
  let way: Forwarder;
  let storeId: string;
  let modelId: string;
  let resources: DisposableStack;
  let logged: string[];

  beforeAll(async () => {
    server = await startOpenFga({ presharedKey: KEY });
    ({ storeId, modelId } = await server.createStore(TYPES));
    await server.write(storeId, [
      viewerOf('order:7'),
      { user: 'user:alice', relation: 'member', object: 'team:sales' },
      viewerOf('order:8', 'team:sales#member'),
      viewerOf('order:9'),
      { user: 'user:alice', relation: 'blocked', object: 'order:9' },
    ]);
    writeFileSync(join(folder, 'token'), KEY);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    resources = new DisposableStack();
    logged = [];
    way = await Forwarder.start(server.port);
  });
  afterEach(async () => {
    resources.dispose();
    await way[Symbol.asyncDispose]();
    expect(logged.join('')).not.toMatch(/canary|alice/);
  });

  async function open(more: object = {}): Promise<RelationSource> {
    const url = `http://127.0.0.1:${way.port}`;
    const config = decode(openFgaConfig(folder), { url, storeId, tokenFile: './token', timeout: '5s', ...more });
    const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
    return resources.use(await openOpenFga(config, { clock: systemClock, log })).relations;
  }
  const verdict = async (snapshot: Snapshot, id: string, relations: RelationSource): Promise<string> =>
    (await decideAsync(snapshot, callFor(id), relations)).verdict;
  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'answered',
      (error: unknown) => (isIdentityError(error) ? error.code : error),
    );

  test('answers questions alone and together, direct and by a team', async () => {
    const relations = await open();
    expect(await relations.check([viewerOf('order:7')])).toEqual([true]);
    const several = ['order:8', 'order:7', 'order:1'].map((each) => viewerOf(each));
    expect(await relations.check(several)).toEqual([true, true, false]);
    const many = Array.from({ length: 120 }, (_, index) => viewerOf(`order:${index}`));
    expect((await relations.check(many)).flatMap((each, index) => (each ? [index] : []))).toEqual([7, 8, 9]);
  });

  test('takes the model that it is told', async () => {
    expect(await (await open({ modelId })).check([viewerOf('order:7')])).toEqual([true]);
    const other = await open({ modelId: '01ARZ3NDEKTSV4RRFFQ69G5FAV' });
    expect(await codeOf(other.check([viewerOf('order:7')]))).toBe('failed_precondition');
  });

  test.each([
    ['a viewer', '7', 'allow'],
    ['a viewer by a team', '8', 'allow'],
    ['nobody related', '1', 'deny'],
    ['a viewer who is blocked', '9', 'deny'],
  ])('decides for %s', async (_title, id, expected) => {
    expect(await verdict(both, id, await open())).toBe(expected);
  });

  test('what changes in the store holds once the answer is no longer kept', async () => {
    const relations = await open({ cache: { ttl: '1ms' }, consistency: 'higherConsistency' });
    expect(await verdict(allowing, '50', relations)).toBe('deny');
    await server.write(storeId, [viewerOf('order:50')]);
    await new Promise((resolve) => setTimeout(resolve, 2));
    expect(await verdict(allowing, '50', relations)).toBe('allow');
    await server.remove(storeId, [viewerOf('order:50')]);
    await new Promise((resolve) => setTimeout(resolve, 2));
    expect(await verdict(allowing, '50', relations)).toBe('deny');
  });

  test('without the store ALLOW does not match and DENY does, except for answers that are kept', async () => {
    const relations = await open({ cache: { ttl: '1h' } });
    expect([await verdict(allowing, '7', relations), await verdict(denying, '7', relations)]).toEqual(['allow', 'allow']);
    way.target = undefined;
    await way[Symbol.asyncDispose]();
    expect([await verdict(allowing, '7', relations), await verdict(denying, '7', relations)]).toEqual(['allow', 'allow']);
    expect([await verdict(allowing, '8', relations), await verdict(denying, '8', relations)]).toEqual(['deny', 'deny']);
    expect(await codeOf(relations.check([viewerOf('order:8')]))).toBe('unavailable');
    expect(logged.join('')).toContain('relation store not asked');
  });

  test('a store that does not answer in time counts as none', async () => {
    const relations = await open({ timeout: '150ms' });
    way.target = await silentPort(resources);
    const startMs = performance.now();
    expect([await verdict(allowing, '7', relations), await verdict(denying, '7', relations)]).toEqual(['deny', 'deny']);
    expect(performance.now() - startMs).toBeLessThan(3_000);
    expect(await codeOf(relations.check([viewerOf('order:7')]))).toBe('deadline_exceeded');
    way.target = server.port;
    expect(await verdict(allowing, '7', relations)).toBe('allow');
  });

  test.each([
    ['a wrong token', { tokenFile: './wrong' }, 'permission_denied'],
    ['a store that does not exist', { storeId: '01ARZ3NDEKTSV4RRFFQ69G5FAV' }, 'failed_precondition'],
    ['a file that is not there', { tokenFile: './none' }, 'failed_precondition'],
  ])('%s fails closed', async (_title, more, code) => {
    writeFileSync(join(folder, 'wrong'), 'canary-wrong');
    const relations = await open(more);
    expect(await codeOf(relations.check([viewerOf('order:7')]))).toBe(code);
    expect([await verdict(allowing, '7', relations), await verdict(denying, '7', relations)]).toEqual(['deny', 'deny']);
  });

  test('a relation that the model does not have fails closed, alone and beside another', async () => {
    const relations = await open();
    const unknown: RelationQuery = { ...viewerOf('order:7'), relation: 'owner' };
    expect(await codeOf(relations.check([unknown]))).toBe('failed_precondition');
    expect(await codeOf(relations.check([viewerOf('order:7'), unknown]))).toBe('failed_precondition');
    expect(await relations.check([viewerOf('order:7')])).toEqual([true]);
  });

  test('an agent decides by relations of its configuration, and closed once the store is away', async () => {
    const { storeId: shop } = await server.createStore(TYPES);
    await server.write(shop, [{ user: 'user:web', relation: 'viewer', object: 'order:7' }]);
    const openfga = `{ url: "http://127.0.0.1:${way.port}", storeId: ${shop}, tokenFile: ./key, cache: { ttl: 1ms } }`;
    await using system = await startAskingSystem(`{ relations: { openfga: ${openfga} } }`, (at) => {
      writeFileSync(join(at, 'key'), KEY);
    });
    await setPolicy(system, 'viewers', { rules: [rule('viewer', 'user:{source.serviceAccount}')] });
    const passes = (id: string): Promise<boolean> => ask(system, { method: 'GET', path: `/orders/${id}` });
    await until(
      system,
      async () => [await passes('7'), await passes('8')],
      ([related, other]) => related === true && other === false,
    );
    await way[Symbol.asyncDispose]();
    expect(await passes('7')).toBe(false);
    await system.agent?.logged('relation store not asked');
    expect(system.agent?.log).not.toContain(KEY);
  });
});
