import { IdentityError } from '../core/errors.ts';
import type { Status } from '../proto/gen/spire/api/types/status_pb.ts';

/**
 * Requires that one item of a batch succeeded.
 *
 * @throws IdentityError `failed_precondition` with the CA's own reason
 */
export function requireOk(status: Status | undefined): void {
  if (status?.code === 0) return;
  const reason = status === undefined ? 'no reason given' : `${status.message} (code ${status.code})`;
  throw new IdentityError('failed_precondition', `the CA refused: ${reason}`);
}
