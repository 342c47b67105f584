import { IdentityError } from '../../core/errors.ts';
import type { ErrorCode } from '../../core/errors.ts';

/** The error codes of a token endpoint (RFC 6749 §5.2, RFC 8693 §2.2.2). */
export type TokenErrorCode =
  | 'invalid_request'
  | 'invalid_client'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'invalid_scope'
  | 'invalid_target';

const CODES: Readonly<Record<TokenErrorCode, ErrorCode>> = {
  invalid_request: 'invalid_argument',
  invalid_client: 'unauthenticated',
  unauthorized_client: 'permission_denied',
  unsupported_grant_type: 'invalid_argument',
  invalid_scope: 'permission_denied',
  invalid_target: 'permission_denied',
};

/** A refusal of the token endpoint. Its message is the `error_description`: nothing of any token is in it. */
export class TokenError extends IdentityError {
  readonly error: TokenErrorCode;

  constructor(error: TokenErrorCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(CODES[error], message, options);
    this.name = 'TokenError';
    this.error = error;
  }
}
