import { IdentityError } from './errors.ts';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A length of time. Built by {@link parseDuration} or {@link durationOfMs}; always whole milliseconds, never negative. */
export interface Duration {
  readonly ms: number;
}

/** A duration from milliseconds, rounded to whole ones. */
export function durationOfMs(ms: number): Duration {
  return { ms: Math.round(ms) };
}

/**
 * Reads a duration such as `24h`, `1h30m`, `500ms` or `7d`.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function parseDuration(text: string, field = 'duration'): Duration {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== text) {
    throw new IdentityError('invalid_argument', `"${text}" is no duration; write one such as 90s, 5m, 1h30m or 7d`, { field });
  }
  return durationOfMs(parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNIT_MS[unit ?? ''] ?? 0), 0));
}

/** The shortest text that {@link parseDuration} reads back, such as `1h30m`. */
export function formatDuration({ ms }: Duration): string {
  let rest = ms;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const size = UNIT_MS[unit] ?? 1;
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text === '' ? '0s' : text;
}
