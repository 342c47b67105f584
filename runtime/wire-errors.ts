import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { IdentityError, type ErrorCode, type IdentityErrorOptions } from '../core/errors.ts';

/** How one error code looks on each wire. */
export interface WireCode {
  /** The gRPC status code (https://grpc.io/docs/guides/status-codes/). */
  readonly grpc: number;
  /** The HTTP status of an answer with this error. */
  readonly http: number;
}

/** The one table from error codes to wire codes. */
export const WIRE_CODES: Readonly<Record<ErrorCode, WireCode>> = {
  cancelled: { grpc: 1, http: 499 },
  invalid_argument: { grpc: 3, http: 400 },
  deadline_exceeded: { grpc: 4, http: 504 },
  not_found: { grpc: 5, http: 404 },
  already_exists: { grpc: 6, http: 409 },
  permission_denied: { grpc: 7, http: 403 },
  resource_exhausted: { grpc: 8, http: 429 },
  failed_precondition: { grpc: 9, http: 400 },
  aborted: { grpc: 10, http: 409 },
  out_of_range: { grpc: 11, http: 400 },
  unimplemented: { grpc: 12, http: 501 },
  internal: { grpc: 13, http: 500 },
  unavailable: { grpc: 14, http: 503 },
  unauthenticated: { grpc: 16, http: 401 },
};

/** What a caller reads of a failure that was not meant for it. */
export const INTERNAL_MESSAGE = 'internal error';

/** A protobuf message that goes with an error as a `google.protobuf.Any`. */
export interface ErrorDetail<D extends DescMessage = DescMessage> {
  readonly desc: D;
  readonly message: MessageShape<D>;
}

/**
 * An error with protobuf details, which gRPC callers read from `grpc-status-details-bin`.
 *
 * @example
 * throw new DetailedError('permission_denied', 'agent is banned', {
 *   details: [{ desc: PermissionDeniedDetailsSchema, message: create(PermissionDeniedDetailsSchema, { reason }) }],
 * });
 */
export class DetailedError extends IdentityError {
  readonly details: readonly ErrorDetail[];

  constructor(code: ErrorCode, message: string, options: IdentityErrorOptions & { readonly details: readonly ErrorDetail[] }) {
    super(code, message, options);
    this.name = 'DetailedError';
    this.details = options.details;
  }
}

/** What a caller may know of a failure. */
export interface PublicError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryAfterMs: number | undefined;
  readonly details: readonly ErrorDetail[];
}

/**
 * What a caller may know of anything that was thrown: an {@link IdentityError} as it is (without its cause), everything
 * else as `internal` with fixed text.
 */
export function publicError(thrown: unknown): PublicError {
  if (!(thrown instanceof IdentityError)) {
    return { code: 'internal', message: INTERNAL_MESSAGE, retryAfterMs: undefined, details: [] };
  }
  const details = thrown instanceof DetailedError ? thrown.details : [];
  return { code: thrown.code, message: thrown.message, retryAfterMs: thrown.retryAfterMs, details };
}
