import type { RequestListener } from 'node:http';
import { createServer, type Server } from 'node:https';
import { afterEach, describe, expect, test } from 'vitest';
import { createLogger } from '../../../../runtime/log.ts';
import { createMetrics } from '../../../../runtime/metrics.ts';
import { IssuerKeys, type IssuerKeysOptions } from '../../../../runtime/oidc/issuer-keys.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { TestCa } from '../../../support/test-ca.ts';
import { TestIssuer } from '../../../support/user-tokens.ts';

const MINUTE_MS = 60_000;
// TLS of Node itself checks certificates, by the machine's own clock.
const ca = TestCa.create({ nowMs: Date.now() });
const { chainPem: cert, keyPem: key } = ca.issueX509Svid('/issuer', { dnsNames: ['localhost'] });
const log = createLogger({ level: 'fatal', name: 'test' });
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const action of cleanUp.splice(0).toReversed()) await action();
});

/** A host that serves an issuer's documents, and the requests that came. */
class Host {
  readonly requests: string[] = [];
  keys: readonly TestIssuer[] = [new TestIssuer()];
  /** Overrides the answers for a path. */
  readonly answers = new Map<string, RequestListener>();
  headers: Record<string, string> = {};
  url = '';

  static async start(): Promise<Host> {
    const host = new Host();
    const server = createServer({ cert, key }, (request, response) => host.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanUp.push(() => close(server));
    const address = server.address();
    host.url = `https://localhost:${typeof address === 'object' && address !== null ? address.port : 0}`;
    return host;
  }

  fetches(path = '/jwks'): number {
    return this.requests.filter((each) => each === path).length;
  }

  readonly #answer: RequestListener = (request, response) => {
    const path = request.url ?? '';
    this.requests.push(path);
    const documents = new Map<string, unknown>([
      ['/.well-known/openid-configuration', { issuer: this.url, jwks_uri: `${this.url}/jwks` }],
      ['/jwks', { keys: this.keys.map(({ jwk }) => jwk) }],
    ]);
    const own = this.answers.get(path);
    if (own !== undefined) return own(request, response);
    if (!documents.has(path)) return void response.writeHead(404).end();
    response.writeHead(200, this.headers).end(JSON.stringify(documents.get(path)));
  };
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

function keysWith(clock: ManualClock, changes: Partial<IssuerKeysOptions> = {}): IssuerKeys {
  const keys = new IssuerKeys({ clock, log, allowPrivateHosts: ['localhost'], rootsPem: [ca.rootPem], ...changes });
  cleanUp.push(() => keys[Symbol.asyncDispose]());
  return keys;
}

async function start(changes: Partial<IssuerKeysOptions> = {}) {
  const [clock, host] = [new ManualClock(), await Host.start()];
  // A monotonic clock of 0 would look like a request that was just made.
  clock.advance(MINUTE_MS);
  const keys = keysWith(clock, changes);
  const ask = async (keyId?: string) => (await keys.keysOf({ issuer: host.url }, keyId)).map((each) => each.keyId);
  return { clock, host, keys, ask };
}

describe('the keys of an issuer', () => {
  test('are found by discovery, and kept', async () => {
    const { host, ask } = await start();
    expect(await ask('key-1')).toEqual(['key-1']);
    expect(await ask('key-1')).toEqual(['key-1']);
    expect(host.requests).toEqual(['/.well-known/openid-configuration', '/jwks']);
  });

  test('[RFC 8414 §3] are found by the metadata of an OAuth server, too; below a path as well', async () => {
    const { host, keys } = await start();
    const issuer = `${host.url}/tenant`;
    const metadata = JSON.stringify({ issuer, jwks_uri: `${host.url}/jwks` });
    host.answers.set('/.well-known/oauth-authorization-server/tenant', (_request, response) => response.end(metadata));
    expect(await keys.keysOf({ issuer }, undefined)).toHaveLength(1);
  });

  test('are where the configuration says, without discovery', async () => {
    const { host, keys } = await start();
    expect(await keys.keysOf({ issuer: 'https://login.example.org', jwksUri: `${host.url}/jwks` }, 'key-1')).toHaveLength(1);
    expect(host.requests).toEqual(['/jwks']);
  });

  test('are asked for once, however many wait', async () => {
    const { host, ask } = await start();
    await Promise.all(Array.from({ length: 50 }, () => ask('key-1')));
    expect(host.fetches()).toBe(1);
  });

  test('rotate: a new key ID is fetched at once, a made-up one at most every 30 s', async () => {
    const { clock, host, ask } = await start();
    await ask('key-1');
    clock.advance(30_000);
    host.keys = [new TestIssuer({ keyId: 'key-2' })];
    expect(await ask('key-2')).toEqual(['key-2']);
    for (let index = 0; index < 100; index += 1) expect(await ask(`made-up-${index}`)).toEqual(['key-2']);
    expect(host.fetches()).toBe(2);
    clock.advance(30_000);
    await Promise.all([ask('made-up'), ask('made-up too')]);
    expect(host.fetches()).toBe(3);
  });

  test.each([
    ['ten minutes where the issuer says nothing', undefined, 10],
    ['as long as the issuer says', 'public, max-age=1200', 20],
    ['an hour at most', 'max-age=999999999', 60],
    ['a minute at least', 'no-store', 1],
  ])('are fresh for %s', async (_what, cacheControl, minutes) => {
    const { clock, host, ask } = await start();
    if (cacheControl !== undefined) host.headers = { 'cache-control': cacheControl };
    await ask('key-1');
    clock.advance(minutes * MINUTE_MS - 1);
    await ask('key-1');
    expect(host.fetches()).toBe(1);
    clock.advance(1);
    // Those at hand serve meanwhile: nobody waits for the issuer.
    await ask('key-1');
    await expect.poll(() => host.fetches()).toBe(2);
  });

  test('serve for six hours while the issuer fails, and then no longer', async () => {
    const { clock, host, ask } = await start();
    await ask('key-1');
    host.answers.set('/jwks', (_request, response) => response.writeHead(500).end());
    clock.advance(6 * 60 * MINUTE_MS - 1);
    expect(await ask('key-1')).toEqual(['key-1']);
    await expect.poll(() => host.fetches()).toBe(2);
    clock.advance(2 * MINUTE_MS);
    await expect(ask('key-1')).rejects.toMatchObject({ code: 'unavailable' });
    host.answers.clear();
    clock.advance(2 * MINUTE_MS);
    expect(await ask('key-1')).toEqual(['key-1']);
  });

  test('are not asked for again at once after a failure, and callers are told when', async () => {
    const { clock, host, ask } = await start();
    host.answers.set('/jwks', (request) => request.socket.destroy());
    await expect(ask()).rejects.toMatchObject({ code: 'unavailable', retryAfterMs: expect.any(Number) });
    for (let index = 0; index < 20; index += 1) await expect(ask()).rejects.toMatchObject({ code: 'unavailable' });
    expect(host.fetches()).toBe(1);
    host.answers.clear();
    clock.advance(4000);
    expect(await ask()).toEqual(['key-1']);
  });

  test('are counted', async () => {
    const metrics = createMetrics();
    const { host, ask } = await start({ metrics });
    await ask();
    expect(await metrics.getSingleMetricAsString('countersign_issuer_key_fetches_total')).toContain(
      `countersign_issuer_key_fetches_total{issuer="${host.url}",outcome="ok"} 1`,
    );
  });
});

describe('a host that means no good', () => {
  test.each<[string, string, RequestListener]>([
    [
      'redirects to a private address',
      '/jwks',
      (_request, response) => response.writeHead(302, { location: 'https://169.254.169.254/' }).end(),
    ],
    [
      'redirects discovery',
      '/.well-known/openid-configuration',
      (_request, response) => response.writeHead(307, { location: '/jwks' }).end(),
    ],
    ['serves no JSON', '/jwks', (_request, response) => response.end('<html>')],
    ['serves no keys', '/jwks', (_request, response) => response.end('{"keys":7}')],
    ['names them twice', '/jwks', (_request, response) => response.end('{"keys":[],"keys":[]}')],
    [
      'speaks for another issuer',
      '/.well-known/openid-configuration',
      (_request, response) => response.end('{"issuer":"https://login.example.org","jwks_uri":"https://login.example.org/jwks"}'),
    ],
    [
      'names no place of keys',
      '/.well-known/openid-configuration',
      (request, response) => response.end(JSON.stringify({ issuer: `https://${request.headers.host}` })),
    ],
    ['names a place without TLS', '/.well-known/openid-configuration', placeOfKeys('http://localhost/jwks')],
    ['names a file', '/.well-known/openid-configuration', placeOfKeys('file:///etc/passwd')],
    ['names the metadata service', '/.well-known/openid-configuration', placeOfKeys('https://169.254.169.254/latest')],
    ['names a private address by number', '/.well-known/openid-configuration', placeOfKeys('https://0x7f000001/jwks')],
    ['answers in gzip', '/jwks', (_request, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('x')],
    [
      'breaks off',
      '/jwks',
      (_request, response) => void response.writeHead(200, { 'content-length': '100' }).write('{', () => response.destroy()),
    ],
  ])('and %s is refused', async (_what, path, answer) => {
    const { host, ask } = await start();
    host.answers.set(path, answer);
    await expect(ask()).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('and returns 50 MB is cut off early', async () => {
    const { host, ask } = await start();
    let sent = 0;
    let isCut = false;
    host.answers.set('/jwks', (_request, response) => {
      const more = (): void => {
        while (!response.destroyed && sent < 50 * 1024 * 1024) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536, 0x20))) return void response.once('drain', more);
        }
      };
      response.once('close', () => {
        isCut = true;
      });
      more();
    });
    await expect(ask()).rejects.toMatchObject({ code: 'unavailable' });
    await expect.poll(() => isCut).toBe(true);
    expect(sent).toBeLessThan(16 * 1024 * 1024);
  });

  test.each<[string, RequestListener]>([
    ['never answers', () => undefined],
    ['never ends its answer', (_request, response) => void response.writeHead(200).write('{')],
  ])('and %s is left after ten seconds', async (_what, answer) => {
    const { clock, host, ask } = await start();
    let isLeft = false;
    host.answers.set('/jwks', (request, response) => {
      response.once('close', () => (isLeft = true));
      return answer(request, response);
    });
    const asked = ask();
    await expect.poll(() => host.fetches()).toBe(1);
    clock.advance(2_000);
    await expect(asked).rejects.toMatchObject({ code: 'unavailable' });
    expect(isLeft).toBe(false);
    clock.advance(8_000);
    await expect.poll(() => isLeft).toBe(true);
  });

  test('and hangs keeps nobody longer than two seconds; what it answers later serves those that come next', async () => {
    const { clock, host, ask } = await start();
    let release: () => void = () => {};
    host.answers.set('/jwks', (_request, response) => {
      release = () => void response.end(JSON.stringify({ keys: host.keys.map(({ jwk }) => jwk) }));
    });
    let settled = 0;
    const count = (): number => (settled += 1);
    const first = [ask(), ask('key-1')];
    for (const each of first) each.then(count, count);
    await expect.poll(() => host.fetches()).toBe(1);
    clock.advance(1_999);
    const late = ask();
    late.then(count, count);
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toBe(0);
    clock.advance(1);
    const refusal = { code: 'unavailable', retryAfterMs: 1_000 };
    for (const each of [...first, late]) await expect(each).rejects.toMatchObject(refusal);
    // Meanwhile nobody is kept at all.
    const next = ask();
    clock.advance(0);
    await expect(next).rejects.toMatchObject(refusal);
    release();
    await expect.poll(() => ask('key-1').catch(() => 'not yet')).toEqual(['key-1']);
    expect(host.fetches()).toBe(1);
  });

  test('and hangs when a new key is asked for keeps nobody longer either, and is not asked more often', async () => {
    const { clock, host, ask } = await start();
    await ask('key-1');
    clock.advance(30_000);
    host.answers.set('/jwks', () => undefined);
    const asked = ask('key-2');
    await expect.poll(() => host.fetches()).toBe(2);
    clock.advance(2_000);
    expect(await asked).toEqual(['key-1']);
    expect(await ask('key-1')).toEqual(['key-1']);
    clock.advance(8_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await ask('key-3')).toEqual(['key-1']);
    expect(host.fetches()).toBe(2);
  });

  test('and hangs does not keep the process from stopping', async () => {
    const { host, keys, ask } = await start();
    host.answers.set('/jwks', () => undefined);
    const asked = ask();
    await expect.poll(() => host.fetches()).toBe(1);
    await keys[Symbol.asyncDispose]();
    await expect(asked).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('and has a private address is called only when it is named, and only with a certificate that is trusted', async () => {
    const host = await Host.start();
    for (const changes of [{ allowPrivateHosts: [] }, { rootsPem: [] }]) {
      await expect(keysWith(new ManualClock(), changes).keysOf({ issuer: host.url }, undefined)).rejects.toMatchObject({
        code: 'unavailable',
      });
    }
    expect(host.requests).toEqual([]);
  });
});

function placeOfKeys(uri: string): RequestListener {
  return (request, response) => response.end(JSON.stringify({ issuer: `https://${request.headers.host}`, jwks_uri: uri }));
}
