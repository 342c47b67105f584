/** Whether a text is what a pattern says. */
export type TextTest = (text: string) => boolean;

/**
 * A pattern in which `*` stands for any characters, none included. Linear in the length of the text.
 *
 * @example
 * globTest('web-*')('web-7'); // true
 */
export function globTest(pattern: string): TextTest {
  if (pattern === '*') return () => true;
  const parts = pattern.split('*');
  if (parts.length === 1) return (text) => text === pattern;
  const [first = '', ...rest] = parts;
  const last = rest.pop() ?? '';
  return (text) =>
    text.length >= first.length + last.length &&
    text.startsWith(first) &&
    text.endsWith(last) &&
    holdsInOrder(text, rest, first.length, last.length);
}

function holdsInOrder(text: string, parts: readonly string[], from: number, lastLength: number): boolean {
  let at = from;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return at <= text.length - lastLength;
}

/** Any of several patterns; those without `*` are looked up in a set. */
export function anyGlobTest(patterns: readonly string[]): TextTest {
  const exact = new Set(patterns.filter((pattern) => !pattern.includes('*')));
  const globs = patterns.filter((pattern) => pattern.includes('*')).map(globTest);
  if (globs.length === 0) return (text) => exact.has(text);
  return (text) => exact.has(text) || globs.some((test) => test(text));
}
