// Every RPC of the server API through grpc-go and the published descriptors: what an existing client sees on the wire.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePem } from '../../spiffe/certificate.ts';
import { CaProcess } from '../support/ca-process.ts';
import { SpireClient, type CallResult, type JsonMessage } from '../support/spire-client.ts';
import { TestCa } from '../support/test-ca.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey, type TestKey } from '../support/test-keys.ts';
import { isInstalled } from '../support/toolchain.ts';

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const own = (path: string) => ({ trustDomain: 'example.org', path });
const SERVER = 'spire.api.server';

let ca: CaProcess;
let folder: string;
let admin: SpireClient;
let agent: SpireClient;
let downstream: SpireClient;
const clients: SpireClient[] = [];

/** A client over TLS with an identity, or without one. */
async function remote(identity?: { readonly chain: readonly Uint8Array[]; readonly key: TestKey }): Promise<SpireClient> {
  const address = `127.0.0.1:${ca.grpcPort}`;
  const name = `client-${clients.length}`;
  const files = { svidFile: join(folder, `${name}.pem`), keyFile: join(folder, `${name}.key`) };
  if (identity !== undefined) {
    writeFileSync(files.svidFile, identity.chain.map((der) => encodePem('CERTIFICATE', der)).join(''));
    writeFileSync(files.keyFile, identity.key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  }
  const client = await SpireClient.connect({ address, skipVerify: true, ...(identity === undefined ? {} : files) });
  clients.push(client);
  return client;
}

/** The first answer of a call that went well. */
async function ok(call: Promise<CallResult>): Promise<JsonMessage> {
  const { code, message, messages } = await call;
  expect({ code, message }).toEqual({ code: 'OK', message: '' });
  return messages[0] ?? {};
}

/** The codes of a batch's items; 0 is not written in protobuf's JSON. */
function itemCodes(answer: JsonMessage): number[] {
  // The cast is sound: every batch answers with results that have a status.
  const { results = [] } = answer as { results?: { status?: { code?: number } }[] };
  return results.map(({ status }) => status?.code ?? 0);
}

async function attest(): Promise<SpireClient> {
  const { value } = await ok(admin.call(`${SERVER}.agent.v1.Agent/CreateJoinToken`, { ttl: 60 }));
  const key = createTestKey();
  const params = { csr: base64(createTestCsr({ key, uris: [] })) };
  const data = { type: 'join_token', payload: base64(Buffer.from(String(value))) };
  const answer = await ok((await remote()).call(`${SERVER}.agent.v1.Agent/AttestAgent`, { params: { data, params } }));
  // The cast is sound: AttestAgent's result has an SVID.
  const { result } = answer as { result: { svid: { certChain: string[]; id: { path: string } } } };
  agentPath = result.svid.id.path;
  return remote({ chain: result.svid.certChain.map((text) => Buffer.from(text, 'base64')), key });
}
let agentPath = '';

describe.skipIf(!isInstalled('go'))('a Go client (needs go)', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'go-'));
    ca = await CaProcess.start();
    admin = await SpireClient.connect({ address: `unix:${ca.socket}` });
    clients.push(admin);
    agent = await attest();
    const entry = { spiffeId: own('/downstream'), parentId: own('/x'), selectors: [{ type: 'a', value: 'b' }], downstream: true };
    await ok(admin.call(`${SERVER}.entry.v1.Entry/BatchCreateEntry`, { entries: [entry] }));
    const key = createTestKey();
    const csr = base64(createTestCsr({ key, uris: ['spiffe://example.org/downstream'] }));
    const minted = await ok(admin.call(`${SERVER}.svid.v1.SVID/MintX509SVID`, { csr }));
    // The cast is sound: MintX509SVID answers with an SVID.
    const { svid } = minted as { svid: { certChain: string[] } };
    downstream = await remote({ chain: svid.certChain.map((text) => Buffer.from(text, 'base64')), key });
  });
  afterAll(async () => {
    for (const client of clients) await client[Symbol.asyncDispose]();
    await ca[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test('[SPIRE entry.v1, Go] registers, reads, changes and deletes entries', async () => {
    const service = `${SERVER}.entry.v1.Entry`;
    const entry = { spiffeId: own('/go'), parentId: own(agentPath), selectors: [{ type: 'unix', value: 'uid:1' }], hint: 'h' };
    const made = await ok(admin.call(`${service}/BatchCreateEntry`, { entries: [entry, entry, {}] }));
    expect(itemCodes(made)).toEqual([0, 6, 3]);
    // The cast is sound: the first item went well.
    const [
      {
        entry: { id },
      },
    ] = (made as { results: [{ entry: { id: string } }] }).results;
    expect(await ok(admin.call(`${service}/GetEntry`, { id }))).toMatchObject({ id, hint: 'h', spiffeId: own('/go') });
    expect((await ok(admin.call(`${service}/CountEntries`)))['count']).toBe(2);
    expect((await ok(admin.call(`${service}/ListEntries`, { filter: { byHint: 'h' } })))['entries']).toHaveLength(1);
    const update = { entries: [{ id, hint: 'g' }], inputMask: { hint: true } };
    expect(await ok(admin.call(`${service}/BatchUpdateEntry`, update))).toMatchObject({
      results: [{ entry: { hint: 'g', revisionNumber: '1' } }],
    });
    expect((await ok(agent.call(`${service}/GetAuthorizedEntries`)))['entries']).toHaveLength(1);
    expect((await ok(agent.call(`${service}/SyncAuthorizedEntries`)))['entries']).toHaveLength(1);
    const csr = base64(createTestCsr({ uris: [] }));
    const signed = await ok(
      agent.call(`${SERVER}.svid.v1.SVID/BatchNewX509SVID`, {
        params: [
          { entryId: id, csr },
          { entryId: 'x', csr },
        ],
      }),
    );
    expect(itemCodes(signed)).toEqual([0, 5]);
    expect(await ok(agent.call(`${SERVER}.svid.v1.SVID/NewJWTSVID`, { entryId: id, audience: ['a'] }))).toMatchObject({
      svid: { id: own('/go') },
    });
    const wit = { entryId: id, publicKey: base64(createTestKey().spki), signingAlgorithm: 'ES256' };
    expect(itemCodes(await ok(agent.call(`${SERVER}.svid.v1.SVID/BatchNewWITSVID`, { params: [wit] })))).toEqual([0]);
    expect(itemCodes(await ok(admin.call(`${service}/BatchDeleteEntry`, { ids: [id, id] })))).toEqual([0, 5]);
  });

  test('[SPIRE svid.v1, Go] mints all kinds, and signs a downstream CA', async () => {
    const service = `${SERVER}.svid.v1.SVID`;
    const csr = base64(createTestCsr({ uris: ['spiffe://example.org/minted'] }));
    expect(await ok(admin.call(`${service}/MintX509SVID`, { csr, ttl: 60 }))).toMatchObject({ svid: { id: own('/minted') } });
    const token = { id: own('/minted'), audience: ['a'] };
    expect(await ok(admin.call(`${service}/MintJWTSVID`, token))).toMatchObject({ svid: { id: own('/minted') } });
    const wit = { id: own('/minted'), publicKey: base64(createTestKey().spki), signingAlgorithm: 'ES256' };
    expect(await ok(admin.call(`${service}/MintWITSVID`, wit))).toMatchObject({ svid: { id: own('/minted') } });
    const answer = await ok(downstream.call(`${service}/NewDownstreamX509CA`, { csr: base64(createTestCsr({ uris: [] })) }));
    expect(answer['x509Authorities']).toHaveLength(1);
    expect(await admin.call(`${service}/MintX509SVID`, {})).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'csr: missing CSR',
    });
  });

  test('[SPIRE bundle.v1, Go] reads and writes bundles', async () => {
    const service = `${SERVER}.bundle.v1.Bundle`;
    const foreign = TestCa.create({ trustDomain: 'go.example' });
    const bundle = { trustDomain: 'go.example', x509Authorities: [{ asn1: base64(foreign.root.der) }], sequenceNumber: '9' };
    expect(await ok((await remote()).call(`${service}/GetBundle`))).toMatchObject({ trustDomain: 'example.org' });
    expect(itemCodes(await ok(admin.call(`${service}/BatchCreateFederatedBundle`, { bundle: [bundle, bundle] })))).toEqual([
      0, 6,
    ]);
    expect(itemCodes(await ok(admin.call(`${service}/BatchUpdateFederatedBundle`, { bundle: [bundle] })))).toEqual([0]);
    expect(itemCodes(await ok(admin.call(`${service}/BatchSetFederatedBundle`, { bundle: [bundle] })))).toEqual([0]);
    expect(await ok(agent.call(`${service}/GetFederatedBundle`, { trustDomain: 'go.example' }))).toMatchObject({
      sequenceNumber: '9',
    });
    expect((await ok(admin.call(`${service}/ListFederatedBundles`)))['bundles']).toHaveLength(1);
    expect(await ok(admin.call(`${service}/CountBundles`))).toEqual({ count: 2 });
    const jwtAuthority = { publicKey: base64(createTestKey().spki), keyId: 'go-jwt' };
    expect((await ok(downstream.call(`${service}/PublishJWTAuthority`, { jwtAuthority })))['jwtAuthorities']).toHaveLength(2);
    const witAuthority = { publicKey: base64(createTestKey().spki), keyId: 'go-wit' };
    expect((await ok(downstream.call(`${service}/PublishWITAuthority`, { witAuthority })))['witAuthorities']).toHaveLength(2);
    const appended = await ok(admin.call(`${service}/AppendBundle`, { x509Authorities: bundle.x509Authorities }));
    expect(appended['x509Authorities']).toHaveLength(2);
    expect(itemCodes(await ok(admin.call(`${service}/BatchDeleteFederatedBundle`, { trustDomains: ['go.example'] })))).toEqual([
      0,
    ]);
  });

  test('[SPIRE trustdomain.v1, Go] reads and writes relationships', async () => {
    const service = `${SERVER}.trustdomain.v1.TrustDomain`;
    const relationship = { trustDomain: 'rel.example', bundleEndpointUrl: 'https://rel.example/', httpsWeb: {} };
    const request = { federationRelationships: [relationship] };
    expect(itemCodes(await ok(admin.call(`${service}/BatchCreateFederationRelationship`, request)))).toEqual([0]);
    expect(itemCodes(await ok(admin.call(`${service}/BatchUpdateFederationRelationship`, request)))).toEqual([0]);
    expect(await ok(admin.call(`${service}/GetFederationRelationship`, { trustDomain: 'rel.example' }))).toMatchObject(
      relationship,
    );
    expect((await ok(admin.call(`${service}/ListFederationRelationships`)))['federationRelationships']).toHaveLength(1);
    expect(await admin.call(`${service}/RefreshBundle`, { trustDomain: 'none.example' })).toMatchObject({ code: 'NOT_FOUND' });
    expect(
      itemCodes(await ok(admin.call(`${service}/BatchDeleteFederationRelationship`, { trustDomains: ['rel.example'] }))),
    ).toEqual([0]);
  });

  test('[SPIRE localauthority.v1, Go] knows no upstream', async () => {
    for (const method of ['TaintX509UpstreamAuthority', 'RevokeX509UpstreamAuthority']) {
      const call = admin.call(`${SERVER}.localauthority.v1.LocalAuthority/${method}`, { subjectKeyId: 'aa' });
      expect(await call).toMatchObject({ code: 'FAILED_PRECONDITION' });
    }
  });

  test('[SPIRE logger.v1, debug.v1, health, Go] serves the operator', async () => {
    const service = `${SERVER}.logger.v1.Logger`;
    expect(await ok(admin.call(`${service}/GetLogger`))).toEqual({ currentLevel: 'INFO', launchLevel: 'INFO' });
    expect(await ok(admin.call(`${service}/SetLogLevel`, { newLevel: 'DEBUG' }))).toMatchObject({ currentLevel: 'DEBUG' });
    expect(await ok(admin.call(`${service}/ResetLogLevel`))).toMatchObject({ currentLevel: 'INFO' });
    expect(await ok(admin.call(`${SERVER}.debug.v1.Debug/GetInfo`))).toMatchObject({ agentsCount: 1 });
    expect(await ok(admin.call('grpc.health.v1.Health/Check'))).toEqual({ status: 'SERVING' });
  });

  test('[SPIRE agent.v1, Go] administers agents; denials carry their reason', async () => {
    const service = `${SERVER}.agent.v1.Agent`;
    const id = own(agentPath);
    expect(await ok(agent.call(`${service}/PostStatus`, { agentVersion: '1.2.3' }))).toEqual({});
    expect(await ok(admin.call(`${service}/GetAgent`, { id }))).toMatchObject({
      agentVersion: '1.2.3',
      attestationType: 'join_token',
    });
    expect((await ok(admin.call(`${service}/ListAgents`)))['agents']).toHaveLength(1);
    expect(await ok(admin.call(`${service}/CountAgents`))).toEqual({ count: 1 });
    const renewed = await ok(agent.call(`${service}/RenewAgent`, { params: { csr: base64(createTestCsr({ uris: [] })) } }));
    expect(renewed).toMatchObject({ svid: { id } });
    await ok(admin.call(`${service}/BanAgent`, { id }));
    const denied = await agent.call(`${service}/PostStatus`, {});
    expect(denied).toMatchObject({ code: 'PERMISSION_DENIED', details: [{ reason: 'AGENT_BANNED' }] });
    await ok(admin.call(`${service}/DeleteAgent`, { id }));
    expect(await agent.call(`${service}/PostStatus`, {})).toMatchObject({ details: [{ reason: 'AGENT_NOT_ATTESTED' }] });
  });

  // After the agent's test: revoking an authority ends the SVIDs that it signed.
  test.each(['X509', 'JWT', 'WIT'])('[SPIRE localauthority.v1, Go] leads an %s authority through its life', async (kind) => {
    const service = `${SERVER}.localauthority.v1.LocalAuthority`;
    type State = Record<string, { authorityId: string }>;
    // The casts are sound: these RPCs answer with named states.
    const { active } = (await ok(admin.call(`${service}/Get${kind}AuthorityState`))) as State;
    const { preparedAuthority: prepared } = (await ok(admin.call(`${service}/Prepare${kind}Authority`))) as State;
    const { authorityId } = prepared ?? {};
    expect(await ok(admin.call(`${service}/Activate${kind}Authority`, { authorityId }))).toMatchObject({
      activatedAuthority: { authorityId },
    });
    const old = { authorityId: active?.authorityId };
    expect(await ok(admin.call(`${service}/Taint${kind}Authority`, old))).toMatchObject({ taintedAuthority: old });
    expect(await ok(admin.call(`${service}/Revoke${kind}Authority`, old))).toMatchObject({ revokedAuthority: old });
  });

  test('bytes that are no message, and a message of ten megabytes, get a status and harm nothing', async () => {
    const call = admin.open(`${SERVER}.entry.v1.Entry/GetEntry`);
    call.sendRaw(Buffer.from([0x0a, 0xff, 0xff, 0xff]));
    call.end();
    expect((await call.result).code).not.toBe('OK');
    const large = admin.open(`${SERVER}.entry.v1.Entry/GetEntry`);
    large.send({ id: 'x'.repeat(10 * 1024 * 1024) });
    large.end();
    expect(await large.result).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(await ok(admin.call('grpc.health.v1.Health/Check'))).toEqual({ status: 'SERVING' });
  });
});
