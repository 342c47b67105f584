import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ReportCallsRequestSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { CountedCalls } from './call-recorder.ts';
import { wireCall } from './recorded-kind.ts';

type Calls = NonNullable<MessageInitShape<typeof ReportCallsRequestSchema>['calls']>;

/** Counted calls that are reported together, under an ID by which the CA counts them once however often they are sent. */
export interface CallBatch {
  readonly request: { readonly batchId: string; readonly calls: Calls };
  /** When the first of the calls was counted. */
  readonly sinceMs: number;
  /** What became of all that was sent together at first. */
  readonly history: BatchHistory;
}

/** Shared by the parts of a batch that was divided. */
export interface BatchHistory {
  /** How often the CA could not take it, or a part of it. */
  refusals: number;
  /** Kinds of calls that were given up. */
  givenUp: number;
}

/** A message stays far below the 4 MiB that a gRPC server accepts. */
const MAX_KINDS = 1000;
const MAX_BYTES = 1024 * 1024;
/** Enough to find four kinds among a thousand that the CA cannot take; if there are more, more is given up with them. */
const MAX_REFUSALS = 40;

/** Divides what was counted into batches. */
export function batchesOf(calls: readonly CountedCalls[], sinceMs: number): readonly CallBatch[] {
  return inParts(calls).map((part) => {
    const wired = part.map(({ kind, count, lastSeenMs }) => wireCall(kind, count, lastSeenMs));
    return batch(wired, sinceMs, { refusals: 0, givenUp: 0 });
  });
}

/** The two halves of a batch that the CA could not take, because one call may be what it cannot take; none where it is not to be divided. */
export function halvesOf({ request: { calls }, sinceMs, history }: CallBatch): readonly CallBatch[] {
  if (calls.length < 2 || history.refusals >= MAX_REFUSALS) return [];
  const middle = Math.ceil(calls.length / 2);
  return [calls.slice(0, middle), calls.slice(middle)].map((half) => batch(half, sinceMs, history));
}

function batch(calls: Calls, sinceMs: number, history: BatchHistory): CallBatch {
  return { request: { batchId: randomUUID(), calls }, sinceMs, history };
}

function inParts(calls: readonly CountedCalls[]): readonly (readonly CountedCalls[])[] {
  const parts: CountedCalls[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const call of calls) {
    const size = sizeOf(call);
    if (bytes + size > MAX_BYTES || parts.at(-1)?.length === MAX_KINDS) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(call);
    bytes += size;
  }
  return parts;
}
/** About as many bytes as it takes; three for each character at the most. */
function sizeOf({ kind: { source, destination, request, decision, audits } }: CountedCalls): number {
  const policies = [decision?.policy, decision?.dryRun?.policy, ...audits.map(({ policy }) => policy)];
  const rules = policies.map((policy) => `${policy?.namespace}${policy?.name}`);
  const asked = request === undefined ? [] : Object.values(request);
  const texts = [source, destination.spiffeId, destination.namespace, ...destination.selectors, ...asked, ...rules];
  return texts.reduce((sum, text) => sum + 3 * text.length, 256);
}
