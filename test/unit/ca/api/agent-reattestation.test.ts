import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent, type AttestAgentRequestSchema } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { PermissionDeniedDetails_Reason as Reason } from '../../../../proto/gen/spire/api/types/status_pb.ts';
import type { X509SVID } from '../../../../proto/gen/spire/api/types/x509svid_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestByToken } from '../../../support/test-agent.ts';
import { issueCertificate, TestCa, type Issued } from '../../../support/test-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { payloadOf, respond } from '../../../support/x509pop-node.ts';

const nodes = TestCa.create({ trustDomain: 'nodes.example' });
let folder: string;
let ca: RunningCa;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pop-'));
  writeFileSync(join(folder, 'roots.pem'), nodes.rootPem);
  ca = await RunningCa.start({ yaml: `attestors: { x509pop: { caFile: ${folder}/roots.pem } }` });
});
afterAll(async () => {
  await ca[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Attests with the node's certificate, answering the challenge with the node's key. */
async function attest(node: Issued, key = createTestKey(), answerKey = node.key): Promise<X509SVID> {
  const challenge = Promise.withResolvers<Uint8Array>();
  async function* requests(): AsyncGenerator<MessageInitShape<typeof AttestAgentRequestSchema>> {
    const data = { type: 'x509pop', payload: payloadOf(node.der) };
    yield { step: { case: 'params', value: { data, params: { csr: createTestCsr({ key, uris: [] }) } } } };
    yield { step: { case: 'challengeResponse', value: respond(await challenge.promise, answerKey) } };
  }
  for await (const { step } of ca.remote().client(Agent).attestAgent(requests())) {
    if (step.case === 'challenge') challenge.resolve(step.value);
    if (step.case === 'result' && step.value.svid !== undefined) return step.value.svid;
  }
  throw new Error('the CA ended the stream without a result');
}

const idOf = ({ id }: X509SVID) => ({ trustDomain: 'example.org', path: id?.path ?? '' });

describe('an agent that can attest again', () => {
  test('[SPIRE agent.v1.RenewAgent] is told to do so instead of renewing', async () => {
    const key = createTestKey();
    const svid = await attest(issueCertificate(nodes.root, { subject: { commonName: 'a' } }), key);
    const connection = ca.remote({ chain: svid.certChain, key });
    const denied = await failureOf(connection.client(Agent).renewAgent({ params: { csr: createTestCsr({ uris: [] }) } }));
    expect(denied).toMatchObject({ code: 'permission_denied', reason: Reason.AGENT_MUST_REATTEST });
  });

  test('[SPIRE agent.v1.AttestAgent] has one record, with the SVID that it got last', async () => {
    const node = issueCertificate(nodes.root, { subject: { commonName: 'b' } });
    const key = createTestKey();
    const first = await attest(node, key);
    const before = await ca.local(Agent).getAgent({ id: idOf(first) });
    const second = await attest(node);
    expect(idOf(second)).toEqual(idOf(first));
    const after = await ca.local(Agent).getAgent({ id: idOf(first) });
    expect(after.x509svidSerialNumber).not.toBe(before.x509svidSerialNumber);
    const old = ca.remote({ chain: first.certChain, key });
    expect(await failureOf(old.client(Agent).postStatus({}))).toMatchObject({ reason: Reason.AGENT_NOT_ACTIVE });
  });

  test('[SPIRE agent.v1.AttestAgent] comes back after an eviction, but not after a ban', async () => {
    const node = issueCertificate(nodes.root, { subject: { commonName: 'c' } });
    const id = idOf(await attest(node));
    await ca.local(Agent).deleteAgent({ id });
    expect(idOf(await attest(node))).toEqual(id);
    await ca.local(Agent).banAgent({ id });
    expect(await failureOf(attest(node))).toMatchObject({
      code: 'permission_denied',
      message: 'failed to attest: agent is banned',
    });
    expect(await ca.local(Agent).getAgent({ id })).toMatchObject({ banned: true });
  });

  test('[SPIRE agent.v1.AttestAgent] gets nothing without the key of its certificate, nor by an attestor that is not configured', async () => {
    const node = issueCertificate(nodes.root, { subject: { commonName: 'd' } });
    const before = (await ca.local(Agent).countAgents({})).count;
    expect(await failureOf(attest(node, createTestKey(), createTestKey()))).toMatchObject({ code: 'permission_denied' });
    expect(await failureOf(attestByToken(ca.remote(), 'token'))).toMatchObject({ code: 'failed_precondition' });
    expect((await ca.local(Agent).countAgents({})).count).toBe(before);
  });
});
