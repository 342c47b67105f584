import { readIpAddress } from '../../policy/match/ip.ts';
import type { Call, CallField, Destination, Source } from '../../policy/model.ts';
import { normalizeRequest } from '../../policy/normalize/request.ts';
import type { Check } from './check.ts';
import type { Enforcement } from './enforcement.ts';

/** What is known of a call besides what is asked. */
export interface CallContext {
  readonly destination: Destination;
  readonly enforcement: Enforcement;
  readonly atMs: number;
}

const UNSEEN_METADATA: ReadonlySet<CallField> = new Set(['source.workload']);

/** The call that a check is about, its request normalised. The user is told later. */
export function createCall(check: Check, { destination, enforcement, atMs }: CallContext): Call {
  const { request } = check;
  return {
    source: sourceOf(check, enforcement),
    destination,
    atMs,
    ...(request === undefined ? undefined : normalizeRequest(request)),
    ...(isMetadataUnseen(check, destination, enforcement) ? { unseen: UNSEEN_METADATA } : undefined),
  };
}

function sourceOf({ sourceId, sourceAddress }: Check, { metadataOf }: Enforcement): Source {
  const address = sourceAddress === undefined ? undefined : readIpAddress(sourceAddress);
  const proven = sourceId === undefined ? undefined : { spiffeId: sourceId, ...metadataOf(sourceId) };
  return address === undefined ? { ...proven } : { ...proven, address };
}

/** Whether the caller may be registered as something that cannot be told: it is unreadable, or nobody tells of new ones any more. */
function isMetadataUnseen(
  { sourceId }: Check,
  { spiffeId }: Destination,
  { unreadableWorkloads, keptFor, workloads }: Enforcement,
): boolean {
  if (sourceId === undefined || (unreadableWorkloads.size === 0 && keptFor === undefined)) return false;
  const text = sourceId.toString();
  if (unreadableWorkloads.has(text)) return true;
  const isOurs = spiffeId !== undefined && sourceId.isMemberOf(spiffeId.trustDomain);
  return keptFor !== undefined && isOurs && !workloads.has(text);
}
