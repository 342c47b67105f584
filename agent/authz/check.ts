import type { Decision, User } from '../../policy/model.ts';
import type { RawRequest } from '../../policy/normalize/request.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { SelectorSet } from '../cache/selectors.ts';

/** Where a call is decided, or was seen to have been decided. */
export type EnforcementPoint = 'ext_authz' | 'http' | 'access_log';

/** A call that an enforcement point asks about: what it can vouch for, and no more. */
export interface Check {
  readonly point: EnforcementPoint;
  /** Who asks, as its socket was attested. The destination is one of its identities. */
  readonly asking: SelectorSet;
  /** The identity that the proxy's configuration names. It must be one of the asking workload's; without it, there must be only one. */
  readonly destinationId?: SpiffeId | undefined;
  /** Port that was called; absent where the point cannot tell. */
  readonly port?: number | undefined;
  /** SPIFFE ID of the caller's verified certificate; absent where it has shown none. */
  readonly sourceId?: SpiffeId | undefined;
  /** Address of the peer of the connection, never one from a header. */
  readonly sourceAddress?: string | undefined;
  /** Absent: a connection whose requests nobody sees. */
  readonly request?: RawRequest | undefined;
}

/** What an enforcement point does with a call. */
export interface Outcome {
  readonly verdict: 'allow' | 'deny';
  /** 200 for `allow`; else 400, 401, 403 or 503. */
  readonly status: 200 | 400 | 401 | 403 | 503;
  /** For the answer to the caller, in lower case: `www-authenticate`, `retry-after`. */
  readonly headers: ReadonlyMap<string, string>;
  /** A reason code of the decision, or why none could be made: `user_missing`, `user_refused`, `user_unavailable`, `no_identity`, `ambiguous_identity`, `policy_missing`, `policy_stale`, `internal`. */
  readonly reason: string;
  /** Absent where none could be made. */
  readonly decision?: Decision | undefined;
  readonly user?: User | undefined;
  /** Where the call was decided for: the destination's identity, when there is one. */
  readonly destinationId?: SpiffeId | undefined;
}

/** Decides calls for enforcement points. Answers at once where nothing has to be asked (keys of an issuer, relations). */
export interface Authorizer {
  /** Never throws: what goes wrong is a denial with its reason, which is logged. */
  authorize(check: Check): Outcome | Promise<Outcome>;
}
