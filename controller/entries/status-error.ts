import { IdentityError, type ErrorCode } from '../../core/errors.ts';
import type { Status } from '../../proto/gen/spire/api/types/status_pb.ts';
import { WIRE_CODES } from '../../runtime/wire-errors.ts';

// The cast is sound: these are the keys of the table.
const CODES = new Map((Object.keys(WIRE_CODES) as ErrorCode[]).map((code) => [WIRE_CODES[code].grpc, code]));

/** What befell one item of a batch; undefined when nothing did. */
export function statusError(status: Status | undefined): IdentityError | undefined {
  if (status === undefined) return new IdentityError('internal', 'the CA answered without a status');
  if (status.code === 0) return undefined;
  return new IdentityError(CODES.get(status.code) ?? 'internal', status.message);
}
