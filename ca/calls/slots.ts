/** Calls are counted by the hour. */
export const HOUR_MS = 3_600_000;
/** What policies decided is counted by five minutes: it is asked for the last hour, at any moment. */
export const HIT_SLOT_MS = 300_000;
