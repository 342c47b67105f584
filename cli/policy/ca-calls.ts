import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { callFromProto } from '../../ca/calls/call-conversion.ts';
import type { CountedKind } from '../../ca/calls/call-kind.ts';
import { Destinations, partsOf, RecalledCalls } from '../../ca/calls/recorded-calls.ts';
import { systemClock } from '../../core/clock.ts';
import { parseDuration } from '../../core/duration.ts';
import { recordedCallOf, type RecordedParts } from '../../policy/documents/recorded-calls.ts';
import type { RecordedCall } from '../../policy/simulate.ts';
import { Policies, type Call } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { connectCa } from '../ca-connection.ts';
import type { Invocation } from '../command.ts';
import { readRecordedCalls } from './call-files.ts';

/** The word that stands for the calls that the CA has recorded. */
export const RECORDED = 'recorded';

/**
 * The calls of a file, or with the word `recorded` those of the CA that `--since` and `--namespace` choose.
 *
 * @throws IdentityError `invalid_argument` that names file, line and field; what connecting to the CA ends with
 */
export async function recordedCallsOf(invocation: Invocation, from: string): Promise<readonly RecordedCall[]> {
  if (from !== RECORDED) return readRecordedCalls(invocation, from);
  return (await callsOfCa(invocation)).map(recordedCallOf);
}

/** What the CA has recorded: equal calls as one, with the verdict that was the last. */
export async function callsOfCa(invocation: Invocation): Promise<readonly RecordedParts[]> {
  const calls = new RecalledCalls();
  const since = sinceOf(invocation);
  const destinationNamespace = invocation.text('namespace') ?? '';
  using connection = await connectCa(invocation);
  const request = { destinationNamespace, ...(since === undefined ? {} : { since }) };
  for await (const part of connection.client(Policies).listCalls(request))
    for (const each of part.calls) calls.add(countedOf(each));
  const destinations = new Destinations();
  return [...calls.values()].map((each) => partsOf(each, destinations.of(each.kind.destination)));
}

/** A recorded call as the CA sends it. */
export function countedOf(call: Call): CountedKind {
  const { sourceNamespace: namespace, sourceServiceAccount: serviceAccount } = call;
  const source = { ...(namespace === '' ? {} : { namespace }), ...(serviceAccount === '' ? {} : { serviceAccount }) };
  return { ...callFromProto(call, 'call'), source };
}

/** The time of `--since`, which says how long ago. */
export function sinceOf(invocation: Invocation): ReturnType<typeof timestampFromMs> | undefined {
  const text = invocation.text('since');
  return text === undefined ? undefined : timestampFromMs(systemClock.nowMs() - parseDuration(text, '--since').ms);
}
