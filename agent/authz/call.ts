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

const UNREADABLE_METADATA: ReadonlySet<CallField> = new Set(['source.workload']);

/** The call that a check is about, its request normalised. The user is told later. */
export function createCall(check: Check, { destination, enforcement, atMs }: CallContext): Call {
  const { sourceId, request } = check;
  const isUnreadable = sourceId !== undefined && enforcement.unreadableWorkloads.has(sourceId.toString());
  return {
    source: sourceOf(check, enforcement),
    destination,
    atMs,
    ...(request === undefined ? undefined : normalizeRequest(request)),
    ...(isUnreadable ? { unseen: UNREADABLE_METADATA } : undefined),
  };
}

function sourceOf({ sourceId, sourceAddress }: Check, { metadataOf }: Enforcement): Source {
  const address = sourceAddress === undefined ? undefined : readIpAddress(sourceAddress);
  const proven = sourceId === undefined ? undefined : { spiffeId: sourceId, ...metadataOf(sourceId) };
  return address === undefined ? { ...proven } : { ...proven, address };
}
