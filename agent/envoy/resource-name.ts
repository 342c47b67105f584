import { parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';

const IDENTITY = '?id=';

/** A name of ours with the identity that it is about, such as `countersign.dev/rbac-http?id=spiffe://example.org/web`. */
export interface ResourceName {
  readonly base: string;
  /** Absent: the only identity that the asking workload has. */
  readonly id: SpiffeId | undefined;
}

/**
 * Reads the name of a resource that Envoy asks for.
 *
 * @throws IdentityError `invalid_argument` when what stands for an identity is none
 */
export function parseResourceName(text: string): ResourceName {
  const at = text.indexOf(IDENTITY);
  if (at === -1) return { base: text, id: undefined };
  return { base: text.slice(0, at), id: parseSpiffeId(text.slice(at + IDENTITY.length)) };
}
