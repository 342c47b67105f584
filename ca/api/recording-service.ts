import { IdentityError } from '../../core/errors.ts';
import type { Recording, ReportCallsRequest } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import { callFromProto } from '../calls/call-conversion.ts';
import type { ReportedCalls } from '../calls/call-conversion.ts';
import type { CallRecording } from '../calls/recording.ts';
import type { ApiContext } from './api-context.ts';
import { callerId } from './authorizer.ts';

/** What the service needs. */
export interface RecordingServiceOptions extends Pick<ApiContext, 'registry' | 'log'> {
  readonly recording: CallRecording;
}

const MAX_CALLS = 20_000;
const BATCH_ID = /^[!-~]{1,64}$/;

/** `countersign.policy.v1.Recording`: agents say which calls they decided or were told of. */
export function recordingService(options: RecordingServiceOptions): ServiceHandlers<typeof Recording, Peer> {
  return { reportCalls: (request, call) => reportCalls(options, request, call) };
}

async function reportCalls(
  { registry, recording, log }: RecordingServiceOptions,
  { batchId, calls }: ReportCallsRequest,
  call: Call<Peer>,
): Promise<{ readonly refused: number }> {
  if (!BATCH_ID.test(batchId)) throw invalid('must have 1 to 64 visible ASCII characters', 'batch_id');
  if (calls.length > MAX_CALLS) throw invalid(`must have at most ${MAX_CALLS} items`, 'calls');
  const agentId = callerId(call);
  const read = calls.map((each, index) => callFromProto(each, `calls[${index}]`));
  const own = new Set(registry.authorizedEntries(agentId).map(({ spiffeId }) => spiffeId.toString()));
  const isOwn = ({ kind }: ReportedCalls): boolean => own.has(kind.destination.spiffeId);
  const accepted = read.filter(isOwn).map((each) => placed(each, registry));
  const refused = read.length - accepted.length;
  if (refused > 0) {
    recording.noteRefused(read.filter((each) => !isOwn(each)).reduce((sum, { count }) => sum + count, 0));
    log.info({ agentId: agentId.toString(), refused }, 'reported calls of other workloads refused');
  }
  if (accepted.length > 0) await recording.record({ agentId: agentId.toString(), batchId, calls: accepted });
  return { refused };
}

/** What the registrations say of the called workload goes before what the agent says. */
function placed(reported: ReportedCalls, registry: ApiContext['registry']): ReportedCalls {
  const { kind } = reported;
  const known = registry.workloads.get(kind.destination.spiffeId)?.metadata;
  if (known === undefined) return reported;
  return { ...reported, kind: { ...kind, destination: { ...kind.destination, ...known } } };
}

function invalid(message: string, field: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}
