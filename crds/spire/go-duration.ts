import { durationOfMs } from '../../core/duration.ts';
import type { Duration } from '../../core/duration.ts';
import { IdentityError } from '../../core/errors.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
// More than any duration needs: what follows must not take long over a hostile one.
const MAX_LENGTH = 100;
const PARTS = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/gy;

/**
 * Reads a duration as Go writes and reads it (`time.ParseDuration`): `1h0m0s`, `1.5h`, `.5s`, `90000ms`. Zero is what SPIRE's
 * kinds mean by "no lifetime of its own", so it gives nothing.
 *
 * @throws IdentityError `invalid_argument` for anything else, and for a negative duration
 */
export function parseGoDuration(text: string): Duration | undefined {
  const unsigned = text.replace(/^[-+]/, '');
  const ms = unsigned === '0' ? 0 : sumOf(unsigned);
  if (ms === undefined) {
    throw new IdentityError('invalid_argument', `"${text.slice(0, 64)}" is no duration; write one such as 90s, 5m or 1h30m`);
  }
  if (text.startsWith('-') && ms > 0) throw new IdentityError('invalid_argument', 'must not be negative');
  return ms === 0 ? undefined : durationOfMs(ms);
}

function sumOf(text: string): number | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const parts = [...text.matchAll(PARTS)];
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== text) return undefined;
  return parts.reduce((sum, [, count, unit = '']) => sum + Number(count) * (UNIT_MS[unit] ?? 0), 0);
}
