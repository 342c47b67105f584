import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { inClusterAccess, inClusterEnvironment } from '../../../../runtime/kubernetes/access.ts';
import { openKubeClient, type KubeClient } from '../../../../runtime/kubernetes/client.ts';
import { KubeError } from '../../../../runtime/kubernetes/errors.ts';
import { CONFIG_MAPS, NODES, PODS, TOKEN_REVIEWS } from '../../../../runtime/kubernetes/resource-types.ts';
import { json, StandInApi, status } from '../../../support/kubernetes/stand-in-api.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

let api: StandInApi;
let client: KubeClient;

beforeEach(async () => {
  api = await StandInApi.start((_request, response) => json(response, 200, { metadata: { name: 'x' } }));
  client = api.client();
});

afterEach(async () => {
  client[Symbol.dispose]();
  await api[Symbol.asyncDispose]();
});

const x = { namespace: 'team', name: 'x' };

describe('requests', () => {
  it('name the object in the path, and its type in the body', async () => {
    await client.get(PODS, x);
    await client.create(CONFIG_MAPS, { metadata: x, data: {} });
    await client.create(PODS, { metadata: x, target: {} }, { subresource: 'binding' });
    await client.update(CONFIG_MAPS, { metadata: x }, { subresource: 'status' });
    await client.apply(CONFIG_MAPS, { metadata: x }, { fieldManager: 'me', force: true });
    await client.patch(NODES, { name: 'a/b' }, { a: 1 }, { kind: 'merge' });
    await client.patch(NODES, { name: 'n' }, [], { kind: 'json' });
    await client.delete(PODS, x, { preconditions: { uid: 'u' } });
    const sent = api.seen.map(({ method, url, headers, body }) => [
      `${method} ${url.pathname}${url.search}`,
      headers['content-type'],
      body === '' ? undefined : (JSON.parse(body) as unknown),
    ]);
    const typed = { apiVersion: 'v1', kind: 'ConfigMap', metadata: x };
    expect(sent).toEqual([
      ['GET /api/v1/namespaces/team/pods/x', undefined, undefined],
      ['POST /api/v1/namespaces/team/configmaps', 'application/json', { ...typed, data: {} }],
      ['POST /api/v1/namespaces/team/pods/x/binding', 'application/json', { metadata: x, target: {} }],
      ['PUT /api/v1/namespaces/team/configmaps/x/status', 'application/json', typed],
      ['PATCH /api/v1/namespaces/team/configmaps/x?fieldManager=me&force=true', 'application/apply-patch+yaml', typed],
      ['PATCH /api/v1/nodes/a%2Fb', 'application/merge-patch+json', { a: 1 }],
      ['PATCH /api/v1/nodes/n', 'application/json-patch+json', []],
      [
        'DELETE /api/v1/namespaces/team/pods/x',
        'application/json',
        { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: 'u' } },
      ],
    ]);
  });

  it('list page by page', async () => {
    api.answer = ({ url }, response) => {
      const next = url.searchParams.get('continue') === null ? { continue: 'more' } : {};
      json(response, 200, {
        metadata: { resourceVersion: '7', ...next },
        items: [{ metadata: { name: next.continue ?? 'last' } }],
      });
    };
    const pages = await Array.fromAsync(client.list(PODS, { labelSelector: 'a=b', pageSize: 1 }));
    expect(
      pages.map(({ items, resourceVersion }) => [items.map(({ kind, metadata }) => [kind, metadata.name]), resourceVersion]),
    ).toEqual([
      [[['Pod', 'more']], '7'],
      [[['Pod', 'last']], '7'],
    ]);
    expect(api.seen.map(({ url }) => url.search)).toEqual([
      '?labelSelector=a%3Db&limit=1',
      '?labelSelector=a%3Db&limit=1&continue=more',
    ]);
  });

  it('end when the caller aborts, with the reason', async () => {
    const stop = new AbortController();
    api.answer = () => stop.abort('enough');
    await expect(client.get(PODS, x, { signal: stop.signal })).rejects.toBe('enough');
  });

  it('end when time is up, also in the middle of an answer', async () => {
    const clock = new ManualClock();
    using patient = api.client(clock);
    api.answer = (_request, response) => {
      response.writeHead(200).write('{"metadata":');
      clock.advance(2_000);
    };
    await expect(patient.get(PODS, x, { timeoutMs: 1_000 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('are sent again when a kept connection was closed, if they change nothing', async () => {
    await client.get(PODS, x);
    let broken = 0;
    api.answer = (_request, response) => {
      if ((broken += 1) === 1) response.destroy();
      else json(response, 200, { metadata: {} });
    };
    await expect(client.get(PODS, x)).resolves.toEqual({ metadata: {} });
    broken = 0;
    await expect(client.delete(PODS, x)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('wait as long as the server says', async () => {
    const clock = new ManualClock();
    using patient = api.client(clock);
    api.answer = (_request, response) => {
      api.answer = (_again, answer) => json(answer, 200, { metadata: {} });
      json(response, 429, status(429, 'TooManyRequests', 'busy'), { 'retry-after': '3' });
    };
    const asked = patient.get(PODS, x);
    await expect.poll(() => clock.timers).toBe(2);
    clock.advance(2_999);
    expect(api.seen.length).toBe(1);
    clock.advance(1);
    await expect(asked).resolves.toEqual({ metadata: {} });
  });
});

describe('refusals', () => {
  it.each([
    [400, 'BadRequest', 'invalid_argument'],
    [401, 'Unauthorized', 'unauthenticated'],
    [403, 'Forbidden', 'permission_denied'],
    [404, 'NotFound', 'not_found'],
    [405, 'MethodNotAllowed', 'unimplemented'],
    [409, 'AlreadyExists', 'already_exists'],
    [409, 'Conflict', 'aborted'],
    [410, 'Expired', 'out_of_range'],
    [422, 'Invalid', 'invalid_argument'],
    [500, 'InternalError', 'unavailable'],
    [503, 'ServiceUnavailable', 'unavailable'],
    [504, 'Timeout', 'unavailable'],
  ])('%i %s is %s', async (code, reason, expected) => {
    api.answer = (_request, response) => json(response, code, status(code, reason, 'because'));
    const refused = client.create(PODS, { metadata: x });
    await expect(refused).rejects.toMatchObject({ code: expected, status: code, reason });
    await expect(refused).rejects.toThrow('because');
  });

  it('of a namespace that is being deleted say so', async () => {
    const details = { causes: [{ reason: 'NamespaceTerminating', message: 'x', field: 'metadata.namespace' }] };
    api.answer = (_request, response) => json(response, 403, status(403, 'Forbidden', 'no', details));
    await expect(client.create(PODS, { metadata: x })).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  it('hold no token, whatever the server quotes', async () => {
    const token = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl';
    api.answer = ({ body }, response) => json(response, 422, status(422, 'Invalid', `spec.token: Invalid value: "${body}"`));
    const failed = await client.create(TOKEN_REVIEWS, { metadata: {}, spec: { token } }).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(KubeError);
    expect(JSON.stringify(failed, Object.getOwnPropertyNames(failed))).not.toMatch(/eyJ|c2lnbmF0/);
  });

  it.each(['', '<html>', '[]', 'null', '{"metadata":7}'])('come from an answer that is no object: %s', async (body) => {
    api.answer = (_request, response) => void response.writeHead(200).end(body);
    await expect(client.get(PODS, x)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('come from an answer that is too large, or breaks off', async () => {
    api.answer = (_request, response) => void response.writeHead(200).end(Buffer.alloc(33 * 1024 * 1024, 0x20));
    await expect(client.get(PODS, x)).rejects.toMatchObject({ code: 'unavailable' });
    api.answer = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('{', () => response.destroy());
    };
    await expect(client.get(PODS, x)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('name the address when nobody answers', async () => {
    using nobody = api.client(undefined, { url: new URL('http://127.0.0.1:1') });
    await expect(nobody.get(PODS, x)).rejects.toThrow('http://127.0.0.1:1 (ECONNREFUSED)');
  });
});

describe('discovery', () => {
  it('tells whether a type is served, and the first of several', async () => {
    api.answer = ({ url }, response) => {
      if (url.pathname === '/apis/a.b/v2') json(response, 200, { resources: [{ name: 'things' }] });
      else if (url.pathname === '/apis/a.b/v3') json(response, 200, { resources: [{ name: 'others' }] });
      else json(response, 404, status(404, 'NotFound', 'no such path'));
    };
    const things = ['v1', 'v3', 'v2'].map((version) => ({
      group: 'a.b',
      version,
      kind: 'Thing',
      plural: 'things',
      namespaced: true,
    }));
    expect(await client.firstServed(things)).toMatchObject({ version: 'v2' });
    expect(await client.firstServed(things.slice(0, 2))).toBeUndefined();
  });
});

describe('credentials in a pod', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'service-account-'));
    writeFileSync(join(folder, 'ca.crt'), 'ca');
    writeFileSync(join(folder, 'token'), 'first\n');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('are found by the variables of the process', () => {
    expect(inClusterEnvironment({})).toBeUndefined();
    const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
    expect(inClusterEnvironment(env)).toEqual({ host: 'fd00::1', port: '6443' });
    expect(inClusterAccess({ host: 'fd00::1', port: '6443' }, new ManualClock()).url.host).toBe('[fd00::1]:6443');
  });

  it('are read again after a while, and at once when they are refused', async () => {
    const clock = new ManualClock();
    const access = inClusterAccess({ host: 'h', port: '1', folder }, clock);
    using pod = api.client(clock, { material: (refused) => access.material(refused) });
    const used = (): string | undefined => api.seen.at(-1)?.headers.authorization;
    await pod.get(PODS, x);
    writeFileSync(join(folder, 'token'), 'second');
    await pod.get(PODS, x);
    expect(used()).toBe('Bearer first');
    clock.advance(10_000);
    await pod.get(PODS, x);
    expect(used()).toBe('Bearer second');
    writeFileSync(join(folder, 'token'), 'third');
    api.answer = ({ headers }, response) =>
      headers.authorization === 'Bearer third' ? json(response, 200, { metadata: {} }) : json(response, 401, {});
    await pod.get(PODS, x);
    expect(used()).toBe('Bearer third');
  });

  it('that are missing are an error that says where', async () => {
    rmSync(join(folder, 'token'));
    const access = inClusterAccess({ host: 'h', port: '1', folder }, new ManualClock());
    await expect(access.material(false)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('must be known somehow', async () => {
    const opened = openKubeClient({ clock: new ManualClock(), log: pino({ level: 'silent' }) });
    await expect(opened).rejects.toMatchObject({ code: 'failed_precondition' });
  });
});
