// Paths as recordings have them: a segment in braces stands for any text, and braces stand for nothing else.

/** A path, or a template where it has segments that look like identifiers. */
export type InferredPath = { readonly exact: string } | { readonly template: string };

const NUMBER = /^[0-9]+$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HEX = /^(?=.*[0-9])[0-9a-f]{12,}$/i;
const LONG_MIXED = /^(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_-]{20,}$/;
const EMAIL = /^[^@]+@[^@]+\.[A-Za-z]{2,}$/;
const IDENTIFIERS = [NUMBER, UUID, HEX, LONG_MIXED, EMAIL];

// `{rest=**}` is none: a recorded variable is one segment.
const VARIABLE = /^\{[A-Za-z_][A-Za-z0-9_]{0,63}\}$/;
const WRITTEN = /^\{id[0-9]{0,3}\}$/;
const BRACE = /[{}]/;

/**
 * How a path that was called is recorded: with variables for numbers, UUIDs, long hexadecimal and mixed texts, and mail addresses.
 *
 * @returns undefined for a path with braces of its own, which would be taken for variables: it is not recorded
 * @example
 * recordedPathOf('/orders/42/items'); // '/orders/{id}/items'
 */
export function recordedPathOf(path: string): string | undefined {
  return BRACE.test(path) ? undefined : withVariables(path);
}

/** Whether a text is what {@link recordedPathOf} makes of some path. */
export function isWrittenByRecorder(text: string): boolean {
  return hasOnly(WRITTEN, text);
}

/** Whether a path may stand in a recording: a segment with a brace is a variable, as a person may have named it. */
export function isRecordedPath(text: string): boolean {
  return hasOnly(VARIABLE, text);
}

function hasOnly(variable: RegExp, text: string): boolean {
  return !BRACE.test(text) || text.split('/').every((segment) => !BRACE.test(segment) || variable.test(segment));
}

/**
 * What a policy says of a recorded path: its variables, and those of segments that look like identifiers.
 *
 * @returns undefined where no clause says it: braces that are no variable, or `*` beside variables
 * @example
 * inferTemplate('/orders/42/items'); // { template: '/orders/{id}/items' }
 */
export function inferTemplate(recorded: string): InferredPath | undefined {
  if (!isRecordedPath(recorded)) return undefined;
  const text = withVariables(recorded);
  if (!BRACE.test(text)) return { exact: text };
  return text.includes('*') ? undefined : { template: text };
}

function withVariables(path: string): string {
  const segments = path.split('/');
  let count = segments.filter((segment) => VARIABLE.test(segment)).length;
  const named = segments.map((segment) => {
    if (BRACE.test(segment) || !IDENTIFIERS.some((each) => each.test(segment))) return segment;
    count += 1;
    return count === 1 ? '{id}' : `{id${count}}`;
  });
  return named.join('/');
}
