// The service of docs/typescript.md, as it stands there, in a process of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { freePort } from '../support/free-port.ts';
import { authz } from '../support/policy/policy-objects.ts';
import { type ClientCertificate, type RawAnswer, sendRaw } from '../support/raw-http.ts';
import { RunningCa } from '../support/running-ca.ts';
import { startTestAgent } from '../support/running-agent.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';

const root = join(import.meta.dirname, '../..');
const resources = new AsyncDisposableStack();
let ca: RunningCa;
let port: number;

/** The first program in the guide, with this test's places. */
function program(authzSocket: string): string {
  const guide = readFileSync(join(root, 'docs/typescript.md'), 'utf8');
  const url = (path: string): string => `'${pathToFileURL(path).href}'`;
  return (/^```ts\n([^]*?)^```$/m.exec(guide)?.[1] ?? '')
    .replace("'countersign'", url(join(root, 'client/index.ts')))
    .replace("'express'", url(createRequire(import.meta.url).resolve('express')))
    .replace('/run/countersign/authz.sock', authzSocket)
    .replace('8443', String(port));
}

async function certificateOf(path: string): Promise<ClientCertificate> {
  const key = createTestKey();
  const csr = createTestCsr({ key, uris: [`spiffe://example.org${path}`] });
  const { svid } = await ca.local(SVID).mintX509SVID({ csr, ttl: 600 });
  const cert = (svid?.certChain ?? []).map((der) => encodePem('CERTIFICATE', der)).join('');
  return { cert, key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

function ask(certificate: ClientCertificate, line: string): Promise<RawAnswer> {
  return sendRaw({ port, tls: { certificate } }, [`${line} HTTP/1.1`, 'Host: orders', 'Connection: close']);
}

beforeAll(async () => {
  ca = resources.use(await RunningCa.start({ yaml: 'authorization: { default: deny }' }));
  const listen = { workload: 'unix:./api.sock', authz: 'unix:./authz.sock' };
  const agent = resources.use(await startTestAgent(ca, { listen }));
  await ca.local(Entry).batchCreateEntry({
    entries: [
      {
        parentId: { trustDomain: 'example.org', path: agent.idPath },
        spiffeId: { trustDomain: 'example.org', path: '/orders' },
        selectors: [{ type: 'unix', value: `uid:${process.getuid?.() ?? 0}` }],
        countersignWorkload: { namespace: 'shop' },
      },
    ],
  });
  const spec = { rules: [{ from: [{ spiffeIDs: ['spiffe://example.org/web'] }], to: [{ paths: [{ prefix: '/orders' }] }] }] };
  const policy = parsePolicy(authz('calls', spec));
  await ca.local(Policies).setResources({ resources: [{ name: policy.name, document: encodePolicy(policy) }] });

  port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'service-'));
  resources.defer(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'service.ts'), program(join(agent.folder, 'authz.sock')));
  const env = { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${agent.socket}` };
  const service = spawn(process.execPath, [join(folder, 'service.ts')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  resources.defer(async () => {
    service.kill('SIGKILL');
    if (service.exitCode === null && service.signalCode === null) await once(service, 'exit');
  });
  await once(service.stdout, 'data');
});
afterAll(() => resources.disposeAsync());

test('serves who may call, and says who calls', async () => {
  const web = await certificateOf('/web');
  await vi.waitUntil(async () => (await ask(web, 'GET /orders/7')).status === 200, { timeout: 5_000, interval: 20 });
  const { body } = await ask(web, 'GET /orders/7');
  expect(body).toContain('{"order":"7","caller":"spiffe://example.org/web"}');
});

test('refuses who may not', async () => {
  const answer = await ask(await certificateOf('/other'), 'GET /orders/7');
  expect(answer.status).toBe(403);
  expect(JSON.parse(answer.body)).toMatchObject({ code: 'permission_denied' });
  expect((await ask(await certificateOf('/web'), 'GET /stock')).status).toBe(403);
});
