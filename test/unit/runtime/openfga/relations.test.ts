import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decode, DecodeError } from '../../../../core/decode.ts';
import { isIdentityError } from '../../../../core/errors.ts';
import type { RelationQuery } from '../../../../policy/model.ts';
import type { RelationSource } from '../../../../policy/relations/source.ts';
import { openFgaConfig } from '../../../../runtime/openfga/config.ts';
import { openOpenFga } from '../../../../runtime/openfga/relations.ts';
import { encodePem } from '../../../../spiffe/certificate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { issueCertificate, TestCa } from '../../../support/test-ca.ts';

const TOKEN = 'canary-token-31b7';
const USER = 'user:canary-alice';
const query = (object: string): RelationQuery => ({ user: USER, relation: 'viewer', object });

let resources: AsyncDisposableStack;
let clock: ManualClock;
let logged: string[];
let folder: string;

interface Asked {
  readonly path: string | undefined;
  readonly authorization: string | undefined;
  readonly body: Body;
}
interface Body {
  readonly checks?: readonly { readonly tuple_key: RelationQuery; readonly correlation_id: string }[];
  readonly tuple_key?: RelationQuery;
  readonly consistency?: string;
  readonly authorization_model_id?: string;
}

const isYes = ({ object }: RelationQuery): boolean => object.startsWith('yes');

/** What a server answers; undefined for nothing, ever. */
type Respond = (asked: Asked) => { readonly status?: number; readonly text: string } | undefined;

const answering: Respond = ({ body: { checks, tuple_key: one } }) => {
  const result = checks?.map(({ tuple_key: each, correlation_id: id }) => [id, { allowed: isYes(each) }]);
  return {
    text: JSON.stringify(
      result === undefined ? { allowed: one !== undefined && isYes(one) } : { result: Object.fromEntries(result) },
    ),
  };
};

interface Store {
  readonly asked: Asked[];
  readonly sockets: Set<Socket>;
  readonly url: string;
}

async function serve(respond: Respond): Promise<Store> {
  const asked: Asked[] = [];
  const sockets = new Set<Socket>();
  const listener: RequestListener = (request: IncomingMessage, response) => {
    void json(request).then((body) => {
      // The cast is sound: the adapter sends such bodies.
      const each: Asked = { path: request.url, authorization: request.headers.authorization, body: body as Body };
      asked.push(each);
      const answer = respond(each);
      if (answer !== undefined) response.writeHead(answer.status ?? 200).end(answer.text);
    });
  };
  const server = createServer(listener).on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  resources.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  // The cast is sound: it listens on TCP.
  return { asked, sockets, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/` };
}

async function open(url: string, more: object = {}): Promise<RelationSource> {
  const config = decode(openFgaConfig(folder), { url, storeId: 'STORE', ...more });
  const log = pino({}, { write: (line: string) => void logged.push(line) });
  return resources.use(await openOpenFga(config, { clock, log })).relations;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  const failure: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(`${String(failure)}${logged.join('')}`).not.toMatch(/canary/);
  return isIdentityError(failure) ? failure.code : String(failure);
}

beforeEach(() => {
  resources = new AsyncDisposableStack();
  clock = new ManualClock();
  logged = [];
  folder = mkdtempSync(join(tmpdir(), 'openfga-'));
  resources.defer(() => rmSync(folder, { recursive: true, force: true }));
});
afterEach(() => resources.disposeAsync());

describe('asks', () => {
  test('several questions in one batch, below the path of the URL, with model, consistency and token', async () => {
    writeFileSync(join(folder, 'token'), `${TOKEN}\n`);
    const store = await serve(answering);
    const relations = await open(store.url, { modelId: 'MODEL', consistency: 'higherConsistency', tokenFile: './token' });
    expect(await relations.check([query('yes:1'), query('no:1'), query('yes:2')])).toEqual([true, false, true]);
    expect(store.asked).toEqual([
      {
        path: '/api/stores/STORE/batch-check',
        authorization: `Bearer ${TOKEN}`,
        body: {
          checks: ['yes:1', 'no:1', 'yes:2'].map((each, index) => ({ tuple_key: query(each), correlation_id: String(index) })),
          authorization_model_id: 'MODEL',
          consistency: 'HIGHER_CONSISTENCY',
        },
      },
    ]);
  });

  test('one question by itself', async () => {
    const store = await serve(answering);
    expect(await (await open(store.url)).check([query('yes:1')])).toEqual([true]);
    expect(store.asked).toMatchObject([
      { path: '/api/stores/STORE/check', body: { tuple_key: query('yes:1'), consistency: 'MINIMIZE_LATENCY' } },
    ]);
  });

  test('more questions than a server takes at once in several batches, in order', async () => {
    const store = await serve(answering);
    const objects = Array.from({ length: 120 }, (_, index) => `${index % 3 === 0 ? 'yes' : 'no'}:${index}`);
    expect(await (await open(store.url)).check(objects.map(query))).toEqual(objects.map((each) => each.startsWith('yes')));
    expect(store.asked.map(({ body }) => body.checks?.length ?? 0).toSorted((one, other) => one - other)).toEqual([20, 50, 50]);
  });

  test('a server that knows no batches one by one, and remembers that it is such', async () => {
    const store = await serve((asked) =>
      asked.path?.endsWith('/batch-check') ? { status: 404, text: '{"code":"undefined_endpoint"}' } : answering(asked),
    );
    const relations = await open(store.url);
    expect(await relations.check([query('yes:1'), query('no:1')])).toEqual([true, false]);
    expect(await relations.check([query('yes:2'), query('no:2')])).toEqual([true, false]);
    expect(store.asked.filter(({ path }) => path?.endsWith('/batch-check')).length).toBe(1);
  });

  test('over kept connections, and anew where one was closed meanwhile', async () => {
    const store = await serve(answering);
    const relations = await open(store.url);
    for (let index = 0; index < 5; index += 1) await relations.check([query(`yes:${index}`)]);
    expect(store.sockets.size).toBe(1);
    for (const socket of store.sockets) socket.destroy();
    expect(await relations.check([query('yes:again')])).toEqual([true]);
    expect(store.sockets.size).toBe(2);
  });

  test('with the token of now', async () => {
    const file = join(folder, 'token');
    writeFileSync(file, 'one');
    const store = await serve(answering);
    const relations = await open(store.url, { tokenFile: './token' });
    await relations.check([query('yes:1')]);
    writeFileSync(file, 'two');
    clock.advance(61_000);
    await relations.check([query('yes:2')]);
    expect(store.asked.map(({ authorization }) => authorization)).toEqual(['Bearer one', 'Bearer two']);
  });
});

describe('fails, and says neither who was asked about nor with which token', () => {
  test.each<[string, string, Respond]>([
    ['no such store', 'not_found', () => ({ status: 404, text: `{"code":"store_id_not_found","message":"${USER}"}` })],
    [
      'a question that it refuses',
      'failed_precondition',
      () => ({ status: 400, text: `{"code":"validation_error","message":"${USER}"}` }),
    ],
    [
      'a token that it refuses',
      'permission_denied',
      () => ({ status: 401, text: `{"code":"unauthenticated","message":"${TOKEN}"}` }),
    ],
    ['too many questions', 'resource_exhausted', () => ({ status: 429, text: '' })],
    ['a store in trouble', 'unavailable', () => ({ status: 500, text: `<html>${USER}` })],
    ['a redirect', 'unavailable', () => ({ status: 302, text: '' })],
    ['no JSON', 'failed_precondition', () => ({ text: `<html>${USER}` })],
    ['no verdict', 'failed_precondition', () => ({ text: '{"allowed":"true"}' })],
    ['a list', 'failed_precondition', () => ({ text: '[true]' })],
    ['an endless answer', 'invalid_argument', () => ({ text: `{"allowed":true,"x":"${'x'.repeat(300_000)}"}` })],
  ])('%s', async (_title, code, respond) => {
    writeFileSync(join(folder, 'token'), TOKEN);
    const relations = await open((await serve(respond)).url, { tokenFile: './token' });
    expect(await codeOf(relations.check([query('yes:1')]))).toBe(code);
  });

  test('an error about one question of several fails them all: no answer is taken for no', async () => {
    const text = JSON.stringify({
      result: { 0: { allowed: true }, 1: { error: { input_error: 'validation_error', message: USER } } },
    });
    const relations = await open((await serve(() => ({ text }))).url);
    expect(await codeOf(relations.check([query('yes:1'), query('yes:2')]))).toBe('failed_precondition');
  });

  test('a question that is left out of the answer', async () => {
    const relations = await open((await serve(() => ({ text: '{"result":{"0":{"allowed":true}}}' }))).url);
    expect(await codeOf(relations.check([query('yes:1'), query('yes:2')]))).toBe('failed_precondition');
  });

  test('a store that is not there', async () => {
    const { url } = await serve(answering);
    await resources.disposeAsync();
    resources = new AsyncDisposableStack();
    expect(await codeOf((await open(url)).check([query('yes:1')]))).toBe('unavailable');
  });

  test('a store that does not answer in time, however many are waiting', async () => {
    const store = await serve(() => undefined);
    const relations = await open(store.url, { timeout: '200ms' });
    const waiting = [1, 2, 3].map((each) => codeOf(relations.check([query(`yes:${each}`)])));
    while (store.asked.length < 3) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(200);
    expect(await Promise.all(waiting)).toEqual(Array.from({ length: 3 }, () => 'deadline_exceeded'));
    expect(clock.timers).toBe(0);
  });

  test('failures are not kept: the next question is asked', async () => {
    let fails = true;
    const store = await serve((asked) => (fails ? { status: 503, text: '' } : answering(asked)));
    const relations = await open(store.url);
    expect(await codeOf(relations.check([query('yes:1')]))).toBe('unavailable');
    fails = false;
    expect(await relations.check([query('yes:1')])).toEqual([true]);
  });

  test('a store that keeps failing is left in peace for a second; then one question shows how it is', async () => {
    let fails = true;
    const store = await serve((asked) => (fails ? { status: 503, text: '' } : answering(asked)));
    const relations = await open(store.url);
    for (let index = 0; index < 20; index += 1) expect(await codeOf(relations.check([query('yes:1')]))).toBe('unavailable');
    expect(store.asked.length).toBe(5);
    clock.advance(1_000);
    expect(await Promise.all([1, 2, 3].map(() => codeOf(relations.check([query('yes:1')]))))).toEqual(
      Array(3).fill('unavailable'),
    );
    expect(store.asked.length).toBe(6);
    fails = false;
    clock.advance(1_000);
    expect(await relations.check([query('yes:1')])).toEqual([true]);
    expect(await Promise.all([2, 3].map((each) => relations.check([query(`yes:${each}`)])))).toEqual([[true], [true]]);
  });

  test('questions that a store refuses do not tire it: a caller may be able to ask them', async () => {
    const store = await serve((asked) => (asked.body.tuple_key?.object === 'bad' ? { status: 400, text: '' } : answering(asked)));
    const relations = await open(store.url);
    for (let index = 0; index < 20; index += 1) await codeOf(relations.check([query('bad')]));
    expect(await relations.check([query('yes:1')])).toEqual([true]);
    expect(store.asked.length).toBe(21);
  });

  test('many failures are a line of the log, and its end another', async () => {
    let fails = true;
    const store = await serve((asked) => (fails ? { status: 503, text: '' } : answering(asked)));
    const relations = await open(store.url);
    for (let index = 0; index < 20; index += 1) await codeOf(relations.check([query('yes:1')]));
    fails = false;
    clock.advance(60_000);
    for (let index = 0; index < 20; index += 1) await relations.check([query(`yes:${index}`)]);
    // The cast is sound: pino writes objects.
    expect(logged.map((line) => (JSON.parse(line) as { readonly msg: string }).msg)).toEqual([
      'relation store not asked; rules with relations fail closed',
      'relation store answers again',
    ]);
  });
});

test('over TLS the store has to show a certificate of the roots that are given', async () => {
  const web = TestCa.create({ trustDomain: 'roots.example' });
  const leaf = issueCertificate(web.root, { subject: { commonName: 'store' }, dnsNames: ['localhost'] });
  const key = leaf.key.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const server = createTlsServer({ cert: encodePem('CERTIFICATE', leaf.der), key }, (_request, response) => {
    response.end('{"allowed":true}');
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  resources.defer(() => void server.close());
  // The cast is sound: it listens on TCP.
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  writeFileSync(join(folder, 'roots.pem'), web.rootPem);
  expect(await (await open(url, { caFile: './roots.pem' })).check([query('yes:1')])).toEqual([true]);
  expect(await codeOf((await open(url)).check([query('yes:1')]))).toBe('unavailable');
  await expect(open(url, { caFile: './none.pem' })).rejects.toThrow(/roots/);
});

test('answers are kept for a while, and not more than so many', async () => {
  const store = await serve(answering);
  const relations = await open(store.url, { cache: { ttl: '5s', maxEntries: 10 } });
  for (let round = 0; round < 3; round += 1) await relations.check([query('yes:1')]);
  expect(store.asked.length).toBe(1);
  for (let index = 0; index < 50; index += 1) await relations.check([query(`no:${index}`)]);
  await relations.check([query('yes:1')]);
  expect(store.asked.length).toBe(52);
  clock.advance(5_001);
  await relations.check([query('yes:1')]);
  expect(store.asked.length).toBe(53);
});

test.each([
  ['ftp://store', 'S'],
  ['http://user:secret@store', 'S'],
  ['http://store/?x=1', 'S'],
  ['http://store', '../other'],
  ['http://store', ''],
])('the configuration %s with store %s is refused', (url, storeId) => {
  expect(() => decode(openFgaConfig('/'), { url, storeId })).toThrow(DecodeError);
});
