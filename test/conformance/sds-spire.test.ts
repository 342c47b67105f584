import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import type { DiscoveryRequestSchema } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { connectGrpc, toIdentityError } from '../../runtime/grpc-client.ts';
import { startTestAgent } from '../support/running-agent.ts';
import { RunningCa } from '../support/running-ca.ts';
import { secretsOf } from '../support/sds-rig.ts';
import { spireBinaries, startSpireAgent } from '../support/spire.ts';
import { TestCa } from '../support/test-ca.ts';

type Request = MessageInitShape<typeof DiscoveryRequestSchema>;

const version = (majorNumber: number, minorNumber: number): Request['node'] => ({
  userAgentVersionType: { case: 'userAgentBuildVersion', value: { version: { majorNumber, minorNumber, patch: 0 } } },
});
const metadata = (value: boolean | string): Request['node'] => ({ metadata: { disable_spiffe_cert_validation: value } });

const REQUESTS: readonly [string, Request][] = [
  ['nothing', {}],
  ['an empty name', { resourceNames: [''] }],
  ['default', { resourceNames: ['default'] }],
  ['ROOTCA', { resourceNames: ['ROOTCA'] }],
  ['ALL', { resourceNames: ['ALL'] }],
  ['the own trust domain', { resourceNames: ['spiffe://example.org'] }],
  ['a federated trust domain', { resourceNames: ['spiffe://friend.test'] }],
  ['an ID', { resourceNames: ['spiffe://example.org/second'] }],
  ['an ID, the default and a bundle', { resourceNames: ['spiffe://example.org/second', 'default', 'ROOTCA'] }],
  ['a foreign ID', { resourceNames: ['spiffe://example.org/other'] }],
  ['a foreign trust domain', { resourceNames: ['spiffe://enemy.test'] }],
  ['one of two that is foreign', { resourceNames: ['default', 'nonsense'] }],
  ['ROOTCA by Envoy 1.17', { resourceNames: ['ROOTCA'], node: version(1, 17) }],
  ['ROOTCA by Envoy 1.18', { resourceNames: ['ROOTCA'], node: version(1, 18) }],
  ['ROOTCA by Envoy 2.0', { resourceNames: ['ROOTCA'], node: version(2, 0) }],
  ['ROOTCA, validator off', { resourceNames: ['ROOTCA'], node: metadata(true) }],
  ['ROOTCA, validator off by text', { resourceNames: ['ROOTCA'], node: metadata('t') }],
  ['ROOTCA, validator off by unknown text', { resourceNames: ['ROOTCA'], node: metadata('on') }],
  ['a federated trust domain, validator off', { resourceNames: ['spiffe://friend.test'], node: metadata(true) }],
];

describe.skipIf(spireBinaries === undefined)("secret discovery as SPIRE's own agent has it (needs SPIRE_BIN)", () => {
  const resources = new AsyncDisposableStack();
  const sockets: string[] = [];
  beforeAll(async () => {
    const ca = resources.use(await RunningCa.start());
    const friend = TestCa.create({ trustDomain: 'friend.test' });
    await ca.local(Bundle).batchSetFederatedBundle({
      bundle: [{ trustDomain: 'friend.test', x509Authorities: [{ asn1: friend.root.der }] }],
    });
    const ours = resources.use(await startTestAgent(ca));
    await register(ca, ours.idPath);
    const folder = await mkdtemp(join(tmpdir(), 'spire-'));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const { value: joinToken } = await ca.local(Agent).createJoinToken({ ttl: 600 });
    await register(ca, `/spire/agent/join_token/${joinToken}`);
    const spire = resources.use(await startSpireAgent({ folder, server: `127.0.0.1:${ca.ca.grpcPort}`, joinToken }));
    sockets.push(ours.socket, spire.workloadApi.replace('unix:', ''));
    for (const socket of sockets) {
      await vi.waitFor(async () => expect(await outcome(socket, {})).toHaveLength(4), { timeout: 30_000, interval: 200 });
    }
  });
  afterAll(() => resources.disposeAsync());

  test.each(REQUESTS)('%s', async (_, request) => {
    const [ours, spires] = await Promise.all(sockets.map((socket) => outcome(socket, request)));
    expect(ours).toEqual(spires);
  });
});

async function register(ca: RunningCa, agentPath: string): Promise<void> {
  const uid = process.geteuid?.() ?? 0;
  // IDs in the order of the paths: both entries are of one second, and the first of them is the default identity.
  const entry = (path: string) => ({
    id: `${agentPath.split('/').at(-1)}-${path.slice(1)}`,
    spiffeId: { trustDomain: 'example.org', path },
    parentId: { trustDomain: 'example.org', path: agentPath },
    selectors: [{ type: 'unix', value: `uid:${uid}` }],
    federatesWith: ['friend.test'],
  });
  const { results } = await ca.local(Entry).batchCreateEntry({ entries: [entry('/first'), entry('/second')] });
  expect(results.map(({ status }) => status?.code)).toEqual([0, 0]);
}

/** The code of a refusal, or what each secret is by its name. */
async function outcome(socket: string, request: Request): Promise<unknown> {
  using connection = connectGrpc({ target: { kind: 'unix', path: socket }, clock: systemClock });
  try {
    const secrets = secretsOf(await connection.client(SecretDiscoveryService).fetchSecrets(request));
    return [...secrets.values()]
      .map(({ name, certificate, validation, domains }) => ({
        name,
        isCertificate: certificate !== undefined,
        isPlain: validation?.trustedCa !== undefined,
        validator: validation?.customValidatorConfig?.name,
        domains: domains && Object.keys(domains),
      }))
      .sort((one, other) => (one.name < other.name ? -1 : 1));
  } catch (error) {
    return toIdentityError(error).code;
  }
}
