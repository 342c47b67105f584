import { ConnectError } from '@connectrpc/connect';

import { isIdentityError } from '../../core/errors.ts';
import {
  PermissionDeniedDetailsSchema,
  PermissionDeniedDetails_Reason as Reason,
} from '../../proto/gen/spire/api/types/status_pb.ts';

/** What the CA thinks of this agent when it denies it; undefined when an error says nothing of the kind. */
export type Denial = 'banned' | 'must_reattest' | undefined;

/** Reads the `PermissionDeniedDetails` of an error that a call to the CA rejected with. */
export function denialOf(error: unknown): Denial {
  const wire = error instanceof ConnectError ? error : isIdentityError(error) ? error.cause : undefined;
  if (!(wire instanceof ConnectError)) return undefined;
  for (const { reason } of wire.findDetails(PermissionDeniedDetailsSchema)) {
    if (reason === Reason.AGENT_BANNED) return 'banned';
    if (REATTEST.has(reason)) return 'must_reattest';
  }
  return undefined;
}

const REATTEST: ReadonlySet<Reason> = new Set([
  Reason.AGENT_EXPIRED,
  Reason.AGENT_NOT_ACTIVE,
  Reason.AGENT_NOT_ATTESTED,
  Reason.AGENT_MUST_REATTEST,
]);
