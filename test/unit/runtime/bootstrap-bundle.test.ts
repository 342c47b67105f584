import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { systemClock } from '../../../core/clock.ts';
import { loadBootstrapBundle } from '../../../runtime/bootstrap-bundle.ts';
import { createLogger } from '../../../runtime/log.ts';
import { formatBundleDocument } from '../../../spiffe/bundle.ts';
import { TestCa } from '../../support/test-ca.ts';

const ca = TestCa.create();
const document = formatBundleDocument(ca.bundle());
const log = createLogger({ level: 'fatal', name: 'test' });
const context = { trustDomain: ca.trustDomain, clock: systemClock, log };
const sha256Hex = createHash('sha256').update(document).digest('hex');
let folder = '';
let plain: Server;
let secure: Server;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bootstrap-'));
  const { chainPem: cert, keyPem: key } = ca.issueX509Svid('/spire/server');
  plain = createServer((_request, response) => response.end(document));
  secure = createTlsServer({ cert, key }, (request, response) =>
    request.url === '/gone' ? response.writeHead(404).end() : response.end(document),
  );
  for (const server of [plain, secure]) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  plain.close();
  secure.close();
  await rm(folder, { recursive: true, force: true });
});

const urlOf = (server: Server, scheme: string, path = '/'): URL =>
  // The cast is sound: both servers listen on TCP.
  new URL(`${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);
const isOurs = async (loading: ReturnType<typeof loadBootstrapBundle>): Promise<boolean> =>
  Buffer.from((await loading)?.x509Authorities[0]?.der ?? []).equals(ca.root.der);

test.each([
  ['PEM', () => ca.rootPem],
  ['a SPIFFE document', () => document],
])('reads a file of %s', async (_what, content) => {
  const file = join(folder, 'bundle');
  await writeFile(file, content());
  expect(await isOurs(loadBootstrapBundle({ kind: 'file', file }, context))).toBe(true);
});

test.each([
  ['nothing', ''],
  ['no bundle', 'hello'],
  ['a document without X.509 authority', '{"keys":[]}'],
])('refuses a file with %s', async (_what, content) => {
  const file = join(folder, 'broken');
  await writeFile(file, content);
  await expect(loadBootstrapBundle({ kind: 'file', file }, context)).rejects.toMatchObject({
    code: 'failed_precondition',
  });
});

test('says that a file is missing', async () => {
  const missing = loadBootstrapBundle({ kind: 'file', file: join(folder, 'missing') }, context);
  await expect(missing).rejects.toMatchObject({ code: 'failed_precondition' });
});

test('fetches a pinned document from a server whose certificate nobody knows', async () => {
  const url = urlOf(secure, 'https');
  expect(await isOurs(loadBootstrapBundle({ kind: 'url', url, sha256Hex }, context))).toBe(true);
  const overHttp = urlOf(plain, 'http');
  expect(await isOurs(loadBootstrapBundle({ kind: 'url', url: overHttp, sha256Hex }, context))).toBe(true);
});

test('refuses a document with another digest', async () => {
  const forged = loadBootstrapBundle({ kind: 'url', url: urlOf(secure, 'https'), sha256Hex: 'f'.repeat(64) }, context);
  await expect(forged).rejects.toMatchObject({ code: 'failed_precondition' });
});

test('without a pin, trusts public certificates only', async () => {
  const unpinned = loadBootstrapBundle({ kind: 'url', url: urlOf(secure, 'https'), sha256Hex: undefined }, context);
  await expect(unpinned).rejects.toMatchObject({ code: 'unavailable' });
});

test('an HTTP error is no bundle', async () => {
  const gone = loadBootstrapBundle({ kind: 'url', url: urlOf(secure, 'https', '/gone'), sha256Hex }, context);
  await expect(gone).rejects.toMatchObject({ code: 'unavailable' });
});

test('insecure bootstrap has no bundle', async () => {
  expect(await loadBootstrapBundle({ kind: 'insecure' }, context)).toBeUndefined();
});
