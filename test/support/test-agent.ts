// A node agent as a CA sees it: attests by a join token and holds the SVID it got.
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { X509SVID } from '../../proto/gen/spire/api/types/x509svid_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { createSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import type { RunningCa } from './running-ca.ts';
import { createTestCsr } from './test-csr.ts';
import { createTestKey, type TestKey } from './test-keys.ts';

/** An attested agent with its connection. */
export interface TestAgent {
  readonly id: SpiffeId;
  readonly key: TestKey;
  readonly svid: X509SVID;
  readonly connection: GrpcConnection;
}

/** A proof without a challenge. */
export interface Proof {
  readonly type: string;
  readonly payload: Uint8Array;
  readonly key?: TestKey;
}

/** What AttestAgent gives for a proof. */
export async function attestBy(connection: GrpcConnection, { type, payload, key = createTestKey() }: Proof): Promise<X509SVID> {
  async function* requests() {
    const params = { csr: createTestCsr({ key, uris: [] }) };
    yield { step: { case: 'params', value: { data: { type, payload }, params } } } as const;
  }
  for await (const { step } of connection.client(Agent).attestAgent(requests())) {
    if (step.case === 'result' && step.value.svid !== undefined) return step.value.svid;
  }
  throw new Error('the CA ended the stream without a result');
}

/** What AttestAgent gives for a join token. */
export function attestByToken(connection: GrpcConnection, token: string, key: TestKey = createTestKey()): Promise<X509SVID> {
  return attestBy(connection, { type: 'join_token', payload: Buffer.from(token), key });
}

/** Makes a token, attests with it and connects as the agent that it makes. */
export async function attestTestAgent(ca: Pick<RunningCa, 'local' | 'remote'>): Promise<TestAgent> {
  const { value } = await ca.local(Agent).createJoinToken({ ttl: 60 });
  const key = createTestKey();
  const svid = await attestByToken(ca.remote(), value, key);
  const id = createSpiffeId(parseTrustDomain('example.org'), svid.id?.path ?? '');
  return { id, key, svid, connection: ca.remote({ chain: svid.certChain, key }) };
}
