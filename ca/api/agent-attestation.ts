import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Clock } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type {
  AttestAgentRequest,
  AttestAgentRequest_Params,
  AttestAgentResponseSchema,
} from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { Peer } from '../../runtime/peer.ts';
import { parseCsr, verifyCsr } from '../../spiffe/csr.ts';
import type { AttestedNode, NodeAttestor } from '../attest/node-attestor.ts';
import type { IssuedX509 } from '../issue/issuer.ts';
import { normalizeSelectors, type Agent } from '../model.ts';
import { commit, type ApiContext } from './api-context.ts';
import { attempt } from './item-status.ts';
import type { RpcLimits } from './rpc-limits.ts';
import { x509SvidToProto } from './svid-conversion.ts';

/** What attestation needs besides the common context. */
export interface AttestOptions extends ApiContext {
  readonly limits: RpcLimits;
  /** By type. */
  readonly attestors: ReadonlyMap<string, NodeAttestor>;
}

type Response = MessageInitShape<typeof AttestAgentResponseSchema>;

/** The dialogue of AttestAgent: what the agent says of its node, challenges and responses, and at last its SVID. */
export async function* attestAgent(
  options: AttestOptions,
  requests: AsyncIterable<AttestAgentRequest>,
  call: Call<Peer>,
): AsyncGenerator<Response> {
  endAfter(options.clock, call, MAX_ATTESTATION_MS);
  await options.limits.take(call, 'attestation');
  const iterator = requests[Symbol.asyncIterator]();
  const { type, payload, csr } = readParams(await iterator.next());
  const attestor = options.attestors.get(type);
  if (attestor === undefined) {
    throw new IdentityError(
      'failed_precondition',
      `error getting node attestor: could not find node attestor type "${type.slice(0, 64)}"`,
    );
  }
  const node = yield* loggingRefusals(options, type, dialogue(attestor, payload, iterator));
  const { svid, reattestable } = await admit(options, { node, type, csr });
  options.log.info({ agentId: node.agentId.toString(), attestationType: type }, 'agent attested');
  yield { step: { case: 'result', value: { svid: x509SvidToProto(svid), reattestable } } };
}

// Anyone may begin one of these streams; without an end, a thousand silent ones would stay.
const MAX_ATTESTATION_MS = 60_000;

function endAfter(clock: Clock, call: Call<Peer>, timeoutMs: number): void {
  const late = new IdentityError('deadline_exceeded', `attestation was not completed within ${timeoutMs / 1000} s`);
  const timer = clock.setTimer(timeoutMs, () => call.fail(late));
  call.onEnd(() => timer.cancel());
}

/** An operator finds here why a node does not get in; the agent's own log may be out of reach. */
async function* loggingRefusals(
  { log }: AttestOptions,
  attestationType: string,
  attestation: AsyncGenerator<Response, AttestedNode>,
): AsyncGenerator<Response, AttestedNode> {
  try {
    return yield* attestation;
  } catch (error) {
    if (error instanceof IdentityError)
      log.info({ attestationType, code: error.code, reason: error.message }, 'attestation refused');
    throw error;
  }
}

async function* dialogue(
  attestor: NodeAttestor,
  payload: Uint8Array,
  requests: AsyncIterator<AttestAgentRequest>,
): AsyncGenerator<Response, AttestedNode> {
  const attestation = attestor.attest(payload);
  let step = await attestation.next();
  while (step.done !== true) {
    yield { step: { case: 'challenge', value: step.value } };
    step = await attestation.next(readResponse(await requests.next()));
  }
  return step.value;
}

function readResponse(next: IteratorResult<AttestAgentRequest>): Uint8Array {
  if (next.done === true) throw new IdentityError('internal', 'failed to receive challenge from agent: the stream ended');
  const { step } = next.value;
  return step.case === 'challengeResponse' ? step.value : new Uint8Array();
}

function readParams(next: IteratorResult<AttestAgentRequest>): { type: string; payload: Uint8Array; csr: Uint8Array } {
  if (next.done === true) throw new IdentityError('invalid_argument', 'failed to receive request from stream: it ended');
  const { step } = next.value;
  return attempt('malformed param', () => {
    const { data, params } = checkParams(step.case === 'params' ? step.value : undefined);
    // Before anything is used up: a join token must not be lost to a CSR that cannot be signed.
    verifyCsr(parseCsr(params.csr, 'params.params.csr'), 'params.params.csr');
    return { type: data.type, payload: data.payload, csr: params.csr };
  });
}

function checkParams(step: AttestAgentRequest_Params | undefined) {
  const missing = (what: string, field: string): IdentityError =>
    new IdentityError('invalid_argument', `missing ${what}`, { field });
  if (step === undefined) throw missing('params', 'params');
  const { data, params } = step;
  if (data === undefined) throw missing('attestation data', 'params.data');
  if (params === undefined) throw missing('X509-SVID parameters', 'params.params');
  if (params.csr.length === 0) throw missing('CSR', 'params.params.csr');
  if (data.type === '') throw missing('attestation data type', 'params.data.type');
  if (data.payload.length === 0) throw missing('attestation data payload', 'params.data.payload');
  return { data, params };
}

interface Admission {
  readonly node: AttestedNode;
  readonly type: string;
  readonly csr: Uint8Array;
}

async function admit(
  options: AttestOptions,
  { node, type, csr }: Admission,
): Promise<{ svid: IssuedX509; reattestable: boolean }> {
  const { agentId } = node;
  refuseBanned(options.registry.agents.get(agentId));
  const svid = await options.issuer.issueAgentSvid({ csr, spiffeId: agentId, caller: `node attestation ${type}` });
  await commit(options, async (tx) => {
    const known = await tx.getAgent(agentId);
    refuseBanned(known);
    await tx.putAgent({
      id: agentId,
      attestationType: type,
      serialNumber: svid.serialNumber,
      expiresAtMs: svid.expiresAtMs,
      nextSerialNumber: '',
      nextExpiresAtMs: 0,
      selectors: normalizeSelectors(node.selectors),
      canReattest: node.canReattest,
      banned: false,
      agentVersion: known?.agentVersion ?? '',
    });
  }).catch((error: unknown) => {
    if (isIdentityError(error, 'unavailable')) options.log.warn({ agentId: agentId.toString() }, 'attested agent not stored');
    throw error;
  });
  return { svid, reattestable: node.canReattest };
}

function refuseBanned(agent: Agent | undefined): void {
  if (agent?.banned === true) throw new IdentityError('permission_denied', 'failed to attest: agent is banned');
}
