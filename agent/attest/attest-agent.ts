import { create } from '@bufbuild/protobuf';
import { ConnectError } from '@connectrpc/connect';

import { IdentityError, type ErrorCode } from '../../core/errors.ts';
import {
  Agent,
  AttestAgentRequestSchema,
  type AttestAgentRequest,
  type AttestAgentResponse,
} from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { buildCsr } from '../../spiffe/csr-builder.ts';
import { createKeyPair } from '../../spiffe/key-pair.ts';
import { RequestQueue } from '../sync/request-queue.ts';
import { createAgentSvid, type AgentSvid } from './agent-svid.ts';
import { denialOf } from './denial.ts';
import type { NodeAttestor } from './node-attestor.ts';

const ATTEST_TIMEOUT_MS = 30_000;

/** Attests the node over a connection without client certificate: payload, any challenges, and the SVID for a new key. */
export async function attestAgent(connection: GrpcConnection, attestor: NodeAttestor, signal: AbortSignal): Promise<AgentSvid> {
  const proof = await attestor.prepare();
  const key = createKeyPair();
  const requests = new RequestQueue<AttestAgentRequest>();
  const data = { type: attestor.type, payload: proof.payload };
  const params = { data, params: { csr: buildCsr(key) } };
  requests.push(create(AttestAgentRequestSchema, { step: { case: 'params', value: params } }));
  let svid: AgentSvid | undefined;
  try {
    const responses = connection.client(Agent).attestAgent(requests, { signal, timeoutMs: ATTEST_TIMEOUT_MS });
    for await (const { step } of responses) {
      if (step.case === 'result') {
        svid = readResult(step.value, key.privateKeyPkcs8Der);
        // The CA ends the stream when this side has.
        requests.end();
      }
      if (step.case !== 'challenge') continue;
      if (proof.answer === undefined)
        throw new IdentityError('failed_precondition', `the CA challenged a ${attestor.type} attestation`);
      const answer = proof.answer(step.value);
      requests.push(create(AttestAgentRequestSchema, { step: { case: 'challengeResponse', value: answer } }));
    }
  } catch (error) {
    throw withRemedy(error, attestor);
  } finally {
    requests.end();
  }
  if (svid !== undefined) return svid;
  throw new IdentityError('unavailable', 'the CA ended the attestation without a result');
}

const REFUSED: ReadonlySet<ErrorCode> = new Set(['invalid_argument', 'unauthenticated', 'permission_denied', 'not_found']);

/** A refusal of the proof by the CA with what to do about it; anything else as it is. */
function withRemedy(error: unknown, { remedy, type }: NodeAttestor): unknown {
  const { code, message, cause } = toIdentityError(error);
  const isOfCa = error instanceof ConnectError && cause === error;
  if (!isOfCa || !REFUSED.has(code) || denialOf(error) !== undefined) return error;
  return new IdentityError(code, `the CA refused the attestation: ${message}; ${remedy ?? `see the CA's log for ${type}`}`, {
    cause,
  });
}

type Result = Extract<AttestAgentResponse['step'], { case: 'result' }>['value'];

function readResult({ svid, reattestable }: Result, privateKeyPkcs8Der: Uint8Array): AgentSvid {
  return createAgentSvid({ chainDer: svid?.certChain ?? [], privateKeyPkcs8Der, reattestable });
}

/** Renews the agent's SVID over its mTLS connection, with a new key. */
export async function renewAgent(connection: GrpcConnection, present: AgentSvid, signal: AbortSignal): Promise<AgentSvid> {
  const key = createKeyPair();
  const request = { params: { csr: buildCsr(key) } };
  const { svid } = await connection.client(Agent).renewAgent(request, { signal, timeoutMs: ATTEST_TIMEOUT_MS });
  const { privateKeyPkcs8Der } = key;
  return createAgentSvid({ chainDer: svid?.certChain ?? [], privateKeyPkcs8Der, reattestable: present.reattestable });
}
