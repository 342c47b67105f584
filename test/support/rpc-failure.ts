import { ConnectError } from '@connectrpc/connect';
import { PermissionDeniedDetailsSchema } from '../../proto/gen/spire/api/types/status_pb.ts';
import { toIdentityError } from '../../runtime/grpc-client.ts';

/** How a call failed. */
export interface RpcFailure {
  readonly code: string;
  readonly message: string;
  /** The reason of a PermissionDeniedDetails, when the status carries one. */
  readonly reason: number | undefined;
}

/** How a call failed; code `ok` when it did not. */
export async function failureOf(call: Promise<unknown>): Promise<RpcFailure> {
  try {
    await call;
    return { code: 'ok', message: '', reason: undefined };
  } catch (error) {
    const { code, message } = toIdentityError(error);
    const [denied] = ConnectError.from(error).findDetails(PermissionDeniedDetailsSchema);
    return { code, message, reason: denied?.reason };
  }
}
