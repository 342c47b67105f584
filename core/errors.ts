/**
 * The stable codes of every failure that Countersign reports. They are the gRPC status codes by name, so that
 * `runtime/wire-errors.ts` is the only place that knows how a code looks on a wire.
 */
export type ErrorCode =
  | 'invalid_argument'
  | 'unauthenticated'
  | 'permission_denied'
  | 'not_found'
  | 'already_exists'
  | 'failed_precondition'
  | 'resource_exhausted'
  | 'out_of_range'
  | 'aborted'
  | 'cancelled'
  | 'deadline_exceeded'
  | 'unavailable'
  | 'unimplemented'
  | 'internal';

/** What an {@link IdentityError} may carry besides its code and text. */
export interface IdentityErrorOptions {
  /** The failure that led to this one; it never reaches a wire. */
  readonly cause?: unknown;
  /** Path of the faulty field, such as `entry.selectors[0].type`. */
  readonly field?: string;
  /** How long the caller should wait before it tries again, in milliseconds. */
  readonly retryAfterMs?: number;
}

/**
 * The one error type that crosses a boundary. Its message is shown to callers: it says what happened, why and what to do,
 * and never holds a key, a token or a CSR.
 *
 * @example
 * throw new IdentityError('invalid_argument', 'path segment is empty', { field: 'id.path' });
 */
export class IdentityError extends Error {
  readonly code: ErrorCode;
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: IdentityErrorOptions = {}) {
    super(
      options.field === undefined ? message : `${options.field}: ${message}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'IdentityError';
    this.code = code;
    this.field = options.field;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Whether a value is an {@link IdentityError}, of the given code when one is named. */
export function isIdentityError(value: unknown, code?: ErrorCode): value is IdentityError {
  return value instanceof IdentityError && (code === undefined || value.code === code);
}
