import { afterEach, describe, expect, test } from 'vitest';

import { Diagnosis } from '../../../../proto/gen/countersign/agent/v1/agent_pb.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { Debug } from '../../../../proto/gen/spire/api/agent/debug/v1/debug_pb.ts';
import {
  DelegatedIdentity,
  type SubscribeToX509SVIDsResponse,
} from '../../../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { Logger } from '../../../../proto/gen/spire/api/agent/logger/v1/logger_pb.ts';
import { LogLevel } from '../../../../proto/gen/spire/api/types/logger_pb.ts';
import { parseCertificate } from '../../../../spiffe/certificate.ts';
import { AgentRig, codeOf, headers } from '../../../support/agent-rig.ts';
import { ownUid, type StandInCa } from '../../../support/stand-in-ca.ts';
import { TestCa } from '../../../support/test-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const started = async (prepare: (ca: StandInCa) => void = () => {}): Promise<AgentRig> =>
  (await AgentRig.start({ config: { authorizedDelegates: ['spiffe://example.org/web'] }, prepare })).ready();
const selectors = [{ type: 'app', value: 'one' }];

describe('delegated identity', () => {
  const client = () => rig.client(DelegatedIdentity, rig.admin);
  const calls = () => ({
    x509: client().subscribeToX509SVIDs({ selectors }),
    bundles: client().subscribeToX509Bundles({}),
    jwt: client().fetchJWTSVIDs({ selectors, audience: ['a'] }),
    jwtBundles: client().subscribeToJWTBundles({}),
  });

  test('[SPIRE agent:delegatedidentity.v1] is refused to callers without identity and to callers that are no delegate', async () => {
    rig = await started((ca) => ca.remove('web'));
    for (const call of Object.values(calls())) expect(await codeOf(call)).toBe('permission_denied');
    rig.ca.put({ id: 'other', path: '/other', selectors: [ownUid] });
    await rig.until(async () => (await codeOf(rig.fetchX509())) === undefined);
    for (const call of Object.values(calls())) expect(await codeOf(call)).toBe('permission_denied');
  });

  test('[SPIRE agent:delegatedidentity.v1.SubscribeToX509SVIDs, FetchJWTSVIDs] gives identities by selectors, without those that have rights over the CA, and pushes changes', async () => {
    rig = await started((ca) => {
      ca.put({ id: 'app', path: '/app', selectors: ['app:one'] });
      ca.put({ id: 'admin', path: '/admin', selectors: ['app:one'], more: { admin: true } });
      ca.put({ id: 'downstream', path: '/downstream', selectors: ['app:one'], more: { downstream: true } });
    });
    const stream = client().subscribeToX509SVIDs({ selectors })[Symbol.asyncIterator]();
    const next = async () => (await stream.next()).value as SubscribeToX509SVIDsResponse;
    const { x509Svids } = await next();
    expect(x509Svids.map(({ x509Svid }) => x509Svid?.id?.path)).toEqual(['/app']);
    expect(parseCertificate(x509Svids[0]?.x509Svid?.certChain[0] ?? new Uint8Array()).uriSans).toEqual([
      'spiffe://example.org/app',
    ]);
    rig.ca.remove('app');
    expect((await next()).x509Svids).toEqual([]);
    expect(await codeOf(client().fetchJWTSVIDs({ selectors, audience: ['a'] }))).toBe('permission_denied');
  });

  test('[SPIRE agent:delegatedidentity.v1.FetchJWTSVIDs] gives identities by pid', async () => {
    rig = await started();
    const { svids } = await client().fetchJWTSVIDs({ pid: process.pid, audience: ['a'] });
    expect(svids.map(({ id }) => id?.path)).toEqual(['/web']);
    expect(await codeOf(client().fetchJWTSVIDs({ pid: 2 ** 22 - 1, audience: ['a'] }))).toBe('not_found');
  });

  test('[SPIRE agent:delegatedidentity.v1.SubscribeToX509SVIDs, FetchJWTSVIDs] wants either selectors or a pid, and an audience', async () => {
    rig = await started();
    expect(await codeOf(client().subscribeToX509SVIDs({}))).toBe('invalid_argument');
    expect(await codeOf(client().subscribeToX509SVIDs({ selectors, pid: 1 }))).toBe('invalid_argument');
    expect(await codeOf(client().subscribeToX509SVIDs({ selectors: [{ type: '', value: 'x' }] }))).toBe('invalid_argument');
    expect(await codeOf(client().fetchJWTSVIDs({ selectors }))).toBe('invalid_argument');
  });

  test('[SPIRE agent:delegatedidentity.v1.SubscribeToX509Bundles, SubscribeToJWTBundles] gives all bundles that the agent knows, and ends when the caller is no delegate any more', async () => {
    rig = await started((ca) => {
      ca.putBundle(TestCa.create({ trustDomain: 'foreign.org' }).bundle());
      ca.put({ id: 'x', path: '/x', selectors: ['app:one'], more: { federatesWith: ['foreign.org'] } });
    });
    const stream = client().subscribeToX509Bundles({})[Symbol.asyncIterator]();
    const { value } = await stream.next();
    expect(Object.keys(value?.caCertificates ?? {}).sort()).toEqual(['spiffe://example.org', 'spiffe://foreign.org']);
    const jwt = await client().subscribeToJWTBundles({})[Symbol.asyncIterator]().next();
    expect(Object.keys(jwt.value?.bundles ?? {}).sort()).toEqual(['spiffe://example.org', 'spiffe://foreign.org']);
    rig.ca.remove('web');
    rig.ca.rotate();
    expect(await codeOf(stream.next())).toBe('permission_denied');
  });
});

test('[SPIRE agent:logger.v1.GetLogger, SetLogLevel, ResetLogLevel] the log level changes while the agent runs', async () => {
  rig = await started();
  const logger = rig.client(Logger, rig.admin);
  const levels = ({ currentLevel, launchLevel }: { currentLevel: LogLevel; launchLevel: LogLevel }) => [
    currentLevel,
    launchLevel,
  ];
  expect(levels(await logger.getLogger({}))).toEqual([LogLevel.FATAL, LogLevel.FATAL]);
  expect(levels(await logger.setLogLevel({ newLevel: LogLevel.ERROR }))).toEqual([LogLevel.ERROR, LogLevel.FATAL]);
  expect(await codeOf(logger.setLogLevel({ newLevel: LogLevel.UNSPECIFIED }))).toBe('invalid_argument');
  expect(levels(await logger.resetLogLevel({}))).toEqual([LogLevel.FATAL, LogLevel.FATAL]);
});

test('[SPIRE agent:agent.debug.v1.GetInfo] debug tells of the agent’s chain, its caches and its last synchronisation', async () => {
  rig = await started();
  await rig.fetchX509();
  const info = await rig.client(Debug, rig.admin).getInfo({});
  expect(info.svidChain.map(({ id }) => id?.path)).toEqual(['/spire/agent/join_token/token-1', '']);
  expect(info).toMatchObject({ cachedX509SvidsCount: 1, lastSyncSuccess: BigInt(Math.floor(rig.clock.nowMs() / 1000)) });
});

test('diagnosis tells what a process has, what it gets and what it nearly gets', async () => {
  rig = await started((ca) => ca.put({ id: 'near', path: '/near', selectors: [ownUid, 'unix:path:/nowhere'] }));
  const found = await rig.client(Diagnosis, rig.admin).explainWorkload({ pid: process.pid });
  expect(found.selectors.map(({ type, value }) => `${type}:${value}`)).toContain(ownUid);
  expect(found.matching.map(({ id }) => id)).toEqual(['web']);
  expect(found.nearMisses.map(({ entry, missing }) => [entry?.id, missing[0]?.value])).toEqual([['near', 'path:/nowhere']]);
  expect(found.entryCount).toBe(2);
});

test('health says not serving until the agent has synchronised, on both sockets', async () => {
  rig = await AgentRig.start({ prepare: (ca) => ca.down().then(() => {}) });
  const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
  const statuses = () =>
    Promise.all([rig.socket, rig.admin].map(async (socket) => (await rig.client(Health, socket).check({})).status));
  expect(await statuses()).toEqual([NOT_SERVING, NOT_SERVING]);
  await rig.ca.up(rig.ca.port);
  await rig.until(async () => (await statuses()).every((status) => status === SERVING), 1_000);
});

test('readiness and metrics say how the agent stands', async () => {
  rig = await AgentRig.start({ config: { listen: { workload: 'unix:./api.sock', http: '127.0.0.1:0' } } });
  const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${rig.agent.httpPort}${path}`);
  await rig.ready();
  await rig.workload.fetchJWTSVID({ audience: ['a'] }, { headers });
  const ready = await get('/readyz');
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({ checks: { attested: { ok: true }, synchronised: { ok: true } } });
  const metrics = await (await get('/metrics')).text();
  expect(metrics).toContain('countersign_agent_x509_svids 1');
  expect(metrics).toContain('countersign_rpc_handled_total{method="/SpiffeWorkloadAPI/FetchJWTSVID"');
});
