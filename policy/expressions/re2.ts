import { RE2JS } from 're2js';
import { IdentityError } from '../../core/errors.ts';

/** Longest expression, and the most instructions that it may become: `(a{100}){100}` is short and large. */
const MAX_LENGTH = 512;
const MAX_INSTRUCTIONS = 2000;

/**
 * A test of whether a whole text matches an RE2 expression. Its time grows with the length of the text, never exponentially.
 *
 * @throws IdentityError `invalid_argument`
 * @example
 * compileRegex('/v[0-9]+/.*')('/v2/orders'); // true
 */
export function compileRegex(text: string): (text: string) => boolean {
  const regex = checked(text);
  return (input) => regex.testExact(input);
}

/** The same for a part of the text, as CEL's `matches` has it. @throws IdentityError `invalid_argument` */
export function compileSearch(text: string): (text: string) => boolean {
  const regex = checked(text);
  return (input) => regex.test(input);
}

function checked(text: string): RE2JS {
  if (text.length > MAX_LENGTH) throw fault(`is longer than ${MAX_LENGTH} characters`);
  const regex = parse(text);
  if (regex.programSize() > MAX_INSTRUCTIONS) throw fault('becomes too large; repeat less often');
  return regex;
}

function parse(text: string): RE2JS {
  try {
    return RE2JS.compile(text);
  } catch (error) {
    throw new IdentityError('invalid_argument', 'is no regular expression of RE2', { cause: error });
  }
}

function fault(message: string): IdentityError {
  return new IdentityError('invalid_argument', `the regular expression ${message}`);
}
