import * as decoders from '../../core/decode.ts';
import { parseDuration } from '../../core/duration.ts';
import type { Duration } from '../../core/duration.ts';
import { converted, ruled } from './schema.ts';
import type { Schema } from './schema.ts';

/** What a text has to be. */
export interface TextOptions {
  /** In characters (code points), as the API server counts. */
  readonly maxLength?: number;
  readonly allowEmpty?: boolean;
  /** Must mean the same to RE2 and to JavaScript. */
  readonly pattern?: RegExp;
  /** What it is in one or two words, such as `DNS name`. */
  readonly title?: string;
  /** What the pattern stands for, such as `a DNS name`: both sides then say "must be a DNS name". */
  readonly meaning?: string;
  /**
   * The pattern becomes OpenAPI's own, not a rule: for texts so deep in lists of lists that the API server would find a rule over
   * each of them too dear. It then shows the expression instead of the meaning.
   */
  readonly cheap?: boolean;
}

/** Text; not empty unless `allowEmpty`. */
export function text({ title, maxLength, allowEmpty = false, pattern, meaning, cheap = false }: TextOptions): Schema<string> {
  const plain: Schema<string> = {
    openApi: {
      ...(title === undefined ? {} : { title }),
      type: 'string',
      ...(allowEmpty ? {} : { minLength: 1 }),
      ...(maxLength === undefined ? {} : { maxLength }),
    },
    decoder: decoders.refine(decoders.string({ allowEmpty }), (value) =>
      isLonger(value, maxLength) ? [{ path: '', message: `must not be longer than ${maxLength} characters` }] : [],
    ),
  };
  if (pattern === undefined) return plain;
  const rule = matching(pattern, meaning ?? `like ${pattern.source}`);
  if (!cheap) return ruled(plain, rule);
  const openApi = { ...plain.openApi, pattern: pattern.source.replaceAll(String.raw`\/`, '/') };
  return { openApi, decoder: ruled(plain, rule).decoder };
}

function isLonger(value: string, maxLength = Infinity): boolean {
  // There are at most as many code points as UTF-16 units.
  return value.length > maxLength && Array.from(value).length > maxLength;
}

// A rule tells its user what is wanted; OpenAPI's own `pattern` would show an expression.
function matching(pattern: RegExp, meaning: string) {
  const source = pattern.source.replaceAll(String.raw`\/`, '/');
  return { cel: `self.matches(r"${source}")`, message: `must be ${meaning}`, holds: (value: string) => pattern.test(value) };
}

/** One of a fixed set of words. */
export function word<const T extends string>(...words: readonly T[]): Schema<T> {
  return { openApi: { type: 'string', enum: words }, decoder: decoders.literal(...words) };
}

/** `true` or `false`. */
export const boolean: Schema<boolean> = { openApi: { type: 'boolean' }, decoder: decoders.boolean };

/** A whole number from `min` on. */
export function wholeNumber({ min }: { readonly min: number }): Schema<number> {
  return { openApi: { type: 'integer', format: 'int64', minimum: min }, decoder: decoders.integer({ min }) };
}

const DURATION = /^([0-9]{1,9}([.][0-9]{1,3})?(h|m|s))+$/;

/** A duration in Go's syntax, such as `1h30m`, within bounds, both inclusive. */
export function duration({ min, max }: { readonly min: string; readonly max: string }): Schema<Duration> {
  const [minMs, maxMs] = [parseDuration(min).ms, parseDuration(max).ms];
  const words = text({
    title: 'duration',
    maxLength: 32,
    pattern: DURATION,
    meaning: 'a duration in hours, minutes and seconds, such as 1h30m',
  });
  return ruled(
    converted(words, (value) => parseDuration(value)),
    {
      // Where the text is no duration at all, the rule above says so.
      cel: `!self.matches(r"${DURATION.source}") || duration(self) >= duration("${min}") && duration(self) <= duration("${max}")`,
      message: `must be from ${min} to ${max}`,
      holds: ({ ms }) => ms >= minMs && ms <= maxMs,
    },
  );
}

/** A point in time, RFC 3339. */
export const timestamp: Schema<string> = {
  openApi: { type: 'string', format: 'date-time' },
  decoder: decoders.refine(decoders.string(), (value) =>
    Number.isNaN(Date.parse(value)) ? [{ path: '', message: 'must be a time such as 2026-01-31T12:00:00Z' }] : [],
  ),
};
