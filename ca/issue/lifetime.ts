import { IdentityError } from '../../core/errors.ts';

/** How long something may last. */
export interface LifetimeRequest {
  readonly nowMs: number;
  /** What was asked for; 0 or less, or nothing: the default. */
  readonly ttlSeconds: number | undefined;
  readonly defaultMs: number;
  /** When the authority ends: nothing it signs outlives it. */
  readonly authorityEndMs: number;
}

/** When something that is issued now ends, in whole seconds. @throws IdentityError `unavailable` when the authority is about to end */
export function expiryOf({ nowMs, ttlSeconds = 0, defaultMs, authorityEndMs }: LifetimeRequest): number {
  const wantedMs = nowMs + (ttlSeconds > 0 ? ttlSeconds * 1000 : defaultMs);
  const expiresAtMs = Math.floor(Math.min(wantedMs, authorityEndMs) / 1000) * 1000;
  if (expiresAtMs > nowMs) return expiresAtMs;
  throw new IdentityError('unavailable', 'the authority is about to end: try again in a moment', { retryAfterMs: 1000 });
}
