import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { durationOfMs, formatDuration, parseDuration } from '../../../core/duration.ts';
import { thrownBy } from '../../support/thrown-by.ts';

describe('duration', () => {
  test.each([
    ['0s', 0],
    ['500ms', 500],
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
    ['1.5h', 5_400_000],
    ['1d2h3m4s5ms', 93_784_005],
  ])('%s is %i ms', (text, ms) => {
    expect(parseDuration(text).ms).toBe(ms);
  });

  test.each(['', '5', 'm', '-5m', '5 m', '5m ', '5x', '1h-30m', '1,5h', '5mins', 'PT5M'])(
    '%j is refused, naming its place',
    (text) => {
      expect(thrownBy(() => parseDuration(text, 'ttl.ca'))).toMatchObject({ code: 'invalid_argument', field: 'ttl.ca' });
    },
  );

  test('is whole milliseconds', () => {
    expect(durationOfMs(1.6).ms).toBe(2);
  });

  test('is written in its largest units', () => {
    expect(formatDuration(durationOfMs(5_400_000))).toBe('1h30m');
    expect(formatDuration(durationOfMs(0))).toBe('0s');
    expect(formatDuration(durationOfMs(86_400_000))).toBe('1d');
  });

  test('property: what is written reads back', () => {
    fc.assert(
      fc.property(fc.nat(10 ** 12), (ms) => {
        expect(parseDuration(formatDuration(durationOfMs(ms))).ms).toBe(ms);
      }),
    );
  });
});
