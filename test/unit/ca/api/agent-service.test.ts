import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { PermissionDeniedDetails_Reason as Reason } from '../../../../proto/gen/spire/api/types/status_pb.ts';
import { parseCertificate } from '../../../../spiffe/certificate.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestByToken, attestTestAgent } from '../../../support/test-agent.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';

let ca: RunningCa;
beforeAll(async () => {
  ca = await RunningCa.start();
});
afterAll(() => ca[Symbol.asyncDispose]());

const agents = () => ca.local(Agent);
const own = (path: string) => ({ trustDomain: 'example.org', path });

describe('join tokens', () => {
  test('[SPIRE agent.v1.CreateJoinToken] makes a token, or takes the one that is asked for', async () => {
    const before = Math.floor(ca.clock.nowMs() / 1000);
    const made = await agents().createJoinToken({ ttl: 60 });
    expect(made.value).toMatch(/^[0-9a-f-]{36}$/);
    expect(Number(made.expiresAt) - before).toBeGreaterThanOrEqual(60);
    expect((await agents().createJoinToken({ ttl: 60, token: 'chosen' })).value).toBe('chosen');
    expect(await failureOf(agents().createJoinToken({ ttl: 60, token: 'chosen' }))).toMatchObject({ code: 'already_exists' });
  });

  test('[SPIRE agent.v1.CreateJoinToken] makes the alias entry that is asked for', async () => {
    await agents().createJoinToken({ ttl: 60, token: 'aliased', agentId: own('/nodes/one') });
    const { entries } = await ca.local(Entry).listEntries({ filter: { bySpiffeId: own('/nodes/one') } });
    expect(entries[0]).toMatchObject({
      parentId: own('/spire/agent/join_token/aliased'),
      selectors: [{ type: 'spiffe_id', value: 'spiffe://example.org/spire/agent/join_token/aliased' }],
    });
  });

  const faults: readonly [string, Parameters<ReturnType<typeof agents>['createJoinToken']>[0]][] = [
    ['ttl', {}],
    ['ttl', { ttl: -1 }],
    ['token', { ttl: 1, token: 'a b' }],
    ['token', { ttl: 1, token: '../x' }],
    ['agent_id', { ttl: 1, agentId: own('/spire/agent/x') }],
    ['agent_id.path', { ttl: 1, agentId: own('x') }],
    ['agent_id', { ttl: 1, agentId: { trustDomain: 'other.example', path: '/x' } }],
  ];
  test.each(faults)('[SPIRE agent.v1.CreateJoinToken] names a faulty %s (%#)', async (field, request) => {
    const failure = await failureOf(agents().createJoinToken(request));
    expect(failure).toMatchObject({ code: 'invalid_argument' });
    expect(failure.message).toContain(`${field}: `);
  });

  test('[SPIRE agent.v1.AttestAgent] one of 200 parallel attempts with one token succeeds', async () => {
    const { value } = await agents().createJoinToken({ ttl: 60 });
    const connection = ca.remote();
    const key = createTestKey();
    const attempts = Array.from({ length: 200 }, () => failureOf(attestByToken(connection, value, key)));
    const codes = (await Promise.all(attempts)).map(({ code }) => code);
    expect(codes.filter((code) => code === 'ok')).toHaveLength(1);
    expect(codes.filter((code) => code === 'invalid_argument')).toHaveLength(199);
  });

  test('[SPIRE agent.v1.AttestAgent] a CSR that cannot be signed does not use the token up', async () => {
    const { value } = await agents().createJoinToken({ ttl: 60 });
    const forged = { ...createTestKey(), privateKey: createTestKey().privateKey };
    expect(await failureOf(attestByToken(ca.remote(), value, forged))).toMatchObject({ code: 'invalid_argument' });
    expect((await attestByToken(ca.remote(), value)).id?.path).toBe(`/spire/agent/join_token/${value}`);
  });

  test('[SPIRE agent.v1.AttestAgent] an expired token is refused', async () => {
    const clock = new ManualClock(Date.now());
    await using other = await RunningCa.start({ clock });
    const { value } = await other.local(Agent).createJoinToken({ ttl: 60 });
    clock.step(61_000);
    const failure = await failureOf(attestByToken(other.remote(), value));
    expect(failure).toMatchObject({ code: 'invalid_argument', message: 'join token expired' });
  });
});

describe('attestation', () => {
  async function attest(...requests: object[]) {
    async function* send() {
      // The cast is sound: what is wrong with these messages is what is tested.
      yield* requests as never[];
    }
    for await (const response of ca.remote().client(Agent).attestAgent(send())) return response;
    return undefined;
  }
  const step = (data: object | undefined, params: object | undefined) => ({ step: { case: 'params', value: { data, params } } });
  const csr = createTestCsr({ uris: [] });
  const faults: readonly [string, string, object[]][] = [
    ['it ended', 'invalid_argument', []],
    ['missing params', 'invalid_argument', [{ step: { case: 'challengeResponse', value: new Uint8Array(1) } }]],
    ['missing attestation data', 'invalid_argument', [step(undefined, { csr })]],
    ['missing X509-SVID parameters', 'invalid_argument', [step({ type: 'join_token', payload: csr }, undefined)]],
    ['missing CSR', 'invalid_argument', [step({ type: 'join_token', payload: csr }, {})]],
    ['missing attestation data type', 'invalid_argument', [step({ payload: csr }, { csr })]],
    ['missing attestation data payload', 'invalid_argument', [step({ type: 'join_token' }, { csr })]],
    ['could not find node attestor type', 'failed_precondition', [step({ type: 'tpm', payload: csr }, { csr })]],
    ['params.params.csr', 'invalid_argument', [step({ type: 'join_token', payload: csr }, { csr: csr.subarray(1) })]],
    [
      'does not exist or has already been used',
      'invalid_argument',
      [step({ type: 'join_token', payload: Buffer.from('x') }, { csr })],
    ],
  ];
  test.each(faults)('[SPIRE agent.v1.AttestAgent] %s', async (text, code, requests) => {
    const failure = await failureOf(attest(...requests));
    expect(failure.code).toBe(code);
    expect(failure.message).toContain(text);
  });

  test('[SPIRE agent.v1.AttestAgent] the agent has the SVID that it got on record', async () => {
    const agent = await attestTestAgent(ca);
    const record = await agents().getAgent({ id: own(agent.id.path) });
    const leaf = parseCertificate(agent.svid.certChain[0] ?? new Uint8Array());
    expect(record).toMatchObject({ attestationType: 'join_token', banned: false, canReattest: false });
    expect(record.x509svidSerialNumber).toBe(BigInt(`0x${leaf.serialHex}`).toString());
    expect(record.x509svidExpiresAt).toBe(BigInt(leaf.notAfterMs / 1000));
    expect(leaf.uriSans).toEqual([agent.id.toString()]);
  });
});

describe('agents', () => {
  test('[SPIRE agent.v1.RenewAgent] the new SVID takes the place of the old one on its first use', async () => {
    const agent = await attestTestAgent(ca);
    const key = createTestKey();
    const { svid } = await agent.connection.client(Agent).renewAgent({ params: { csr: createTestCsr({ key, uris: [] }) } });
    expect(await failureOf(agent.connection.client(Agent).postStatus({}))).toMatchObject({ code: 'ok' });
    const renewed = ca.remote({ chain: svid?.certChain ?? [], key });
    expect(await failureOf(renewed.client(Agent).postStatus({ agentVersion: '9' }))).toMatchObject({ code: 'ok' });
    const late = await failureOf(agent.connection.client(Agent).postStatus({}));
    expect(late).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_NOT_ACTIVE });
    expect((await agents().getAgent({ id: own(agent.id.path) })).agentVersion).toBe('9');
  });

  test.each([
    ['params', {}],
    ['params.csr', { params: {} }],
    ['csr', { params: { csr: new Uint8Array([1, 2, 3]) } }],
  ])('[SPIRE agent.v1.RenewAgent] names missing or faulty %s', async (field, request) => {
    const agent = await attestTestAgent(ca);
    const failure = await failureOf(agent.connection.client(Agent).renewAgent(request));
    expect(failure).toMatchObject({ code: 'invalid_argument' });
    expect(failure.message).toContain(`${field}: `);
  });

  test('[SPIRE agent.v1.PostStatus] refuses a version that is too long', async () => {
    const agent = await attestTestAgent(ca);
    const failure = await failureOf(agent.connection.client(Agent).postStatus({ agentVersion: 'v'.repeat(256) }));
    expect(failure).toMatchObject({ code: 'invalid_argument' });
  });

  test('[SPIRE agent.v1.BanAgent] ends what a held connection may do, and attestation for good', async () => {
    const agent = await attestTestAgent(ca);
    const id = own(agent.id.path);
    const mine = agent.connection.client(Entry);
    expect(await failureOf(mine.getAuthorizedEntries({}))).toMatchObject({ code: 'ok' });
    await agents().banAgent({ id });
    expect(await failureOf(mine.getAuthorizedEntries({}))).toMatchObject({
      code: 'permission_denied',
      reason: Reason.AGENT_BANNED,
    });
    expect(await agents().getAgent({ id })).toMatchObject({ banned: true, x509svidSerialNumber: '' });
    expect(await failureOf(agents().banAgent({ id: own('/spire/agent/none') }))).toMatchObject({ code: 'not_found' });
  });

  test('[SPIRE agent.v1.DeleteAgent] evicts an agent with the alias of its token', async () => {
    const { value } = await agents().createJoinToken({ ttl: 60, agentId: own('/nodes/evicted') });
    const key = createTestKey();
    const svid = await attestByToken(ca.remote(), value, key);
    const connection = ca.remote({ chain: svid.certChain, key });
    const id = own(`/spire/agent/join_token/${value}`);
    await agents().deleteAgent({ id });
    const denied = await failureOf(connection.client(Entry).getAuthorizedEntries({}));
    expect(denied).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_NOT_ATTESTED });
    expect((await ca.local(Entry).countEntries({ filter: { bySpiffeId: own('/nodes/evicted') } })).count).toBe(0);
    expect(await failureOf(agents().deleteAgent({ id }))).toMatchObject({ code: 'not_found', message: 'agent not found' });
  });

  test.each([undefined, own(''), own('/web'), { trustDomain: 'other.example', path: '/spire/agent/x' }])(
    '[SPIRE agent.v1.GetAgent, DeleteAgent, BanAgent] refuse an ID that is no agent of ours (%#)',
    async (id) => {
      const request = id === undefined ? {} : { id };
      for (const call of [agents().getAgent(request), agents().deleteAgent(request), agents().banAgent(request)]) {
        const failure = await failureOf(call);
        expect(failure).toMatchObject({ code: 'invalid_argument' });
        expect(failure.message).toMatch(/^invalid agent ID: id/);
      }
    },
  );

  test('[SPIRE agent.v1.ListAgents] filters and masks, and [SPIRE agent.v1.CountAgents] counts the same', async () => {
    const banned = await attestTestAgent(ca);
    await agents().banAgent({ id: own(banned.id.path) });
    const all = await agents().listAgents({});
    expect((await agents().countAgents({})).count).toBe(all.agents.length);
    const found = await agents().listAgents({ filter: { byBanned: true }, outputMask: { banned: true } });
    expect(found.agents.map(({ id }) => id?.path)).toContain(banned.id.path);
    expect(found.agents.every(({ attestationType, banned: isBanned }) => attestationType === '' && isBanned)).toBe(true);
    expect((await agents().countAgents({ filter: { byBanned: true } })).count).toBe(found.agents.length);
    expect((await agents().countAgents({ filter: { byAttestationType: 'x509pop' } })).count).toBe(0);
    expect((await agents().countAgents({ filter: { byCanReattest: true } })).count).toBe(0);
    expect((await agents().countAgents({ filter: { byExpiresBefore: '2000-01-01 00:00:00 +0000 +00' } })).count).toBe(0);
    const page = await agents().listAgents({ pageSize: 1 });
    expect(page.agents).toHaveLength(1);
    expect(page.nextPageToken).not.toBe('');
  });

  test('[SPIRE agent.v1.ListAgents] names a faulty filter', async () => {
    const time = await failureOf(agents().listAgents({ filter: { byExpiresBefore: 'tomorrow' } }));
    expect(time).toMatchObject({ code: 'invalid_argument' });
    expect(time.message).toContain('filter.by_expires_before: ');
    const selectors = await failureOf(
      agents().countAgents({ filter: { bySelectorMatch: { selectors: [{ type: 'a:b', value: 'x' }] } } }),
    );
    expect(selectors.message).toContain('filter.by_selector_match.selectors[0]: ');
  });
});
