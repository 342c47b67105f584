import type { ErrorCode, IdentityError } from '../core/errors.ts';

const PASSING: ReadonlySet<ErrorCode> = new Set([
  'unavailable',
  'deadline_exceeded',
  'resource_exhausted',
  'aborted',
  'cancelled',
  'internal',
]);

/**
 * Whether a CA that failed so may answer when asked again. Everything else (a refused token, a forged bundle, a missing file)
 * stays wrong until somebody changes something.
 */
export function isPassing({ code }: IdentityError): boolean {
  return PASSING.has(code);
}
