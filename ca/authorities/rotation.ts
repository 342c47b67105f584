const DAY_MS = 24 * 60 * 60 * 1000;

/** The part of an authority that decides when it is replaced. */
export interface Lifetime {
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** How long an expired authority stays in the bundle, as in SPIRE: clocks of verifiers may be behind. */
export const PRUNE_AFTER_MS = DAY_MS;

/** When the next authority is made and published: at half life, at most 30 days before the end, as in SPIRE. */
export function preparationAtMs(authority: Lifetime): number {
  return authority.expiresAtMs - Math.min(lifetimeMs(authority) / 2, 30 * DAY_MS);
}

/** When the next authority signs: in the last sixth, at most 7 days before the end, as in SPIRE. */
export function activationAtMs(authority: Lifetime): number {
  return authority.expiresAtMs - Math.min(lifetimeMs(authority) / 6, 7 * DAY_MS);
}

/**
 * How long a published key waits at least before it signs, when that was not its plan: after an outage of the store, publication
 * may come late. Long enough for every agent to have heard of it, were it to poll.
 */
export function settlingMs(authority: Lifetime): number {
  return Math.min(30_000, lifetimeMs(authority) / 24);
}

/** How often rotation looks at the wall clock at most and at least; a stepped clock is noticed that late. */
export function pollMs(configuredLifetimeMs: number): number {
  return Math.min(300_000, Math.max(250, configuredLifetimeMs / 240));
}

function lifetimeMs({ issuedAtMs, expiresAtMs }: Lifetime): number {
  return Math.max(0, expiresAtMs - issuedAtMs);
}
