import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { globTest } from './glob.ts';
import type { TextTest } from './glob.ts';

/** Whether an ID is what a pattern says. */
export type SpiffeIdTest = (id: SpiffeId) => boolean;

/**
 * A pattern of SPIFFE IDs: `*` within a segment, the trust domain included, stands for any characters of that one segment; `**` as the
 * last segment stands for one or more whole segments.
 *
 * @example
 * spiffeIdTest('spiffe://example.org/ns/*\/sa/web')(parseSpiffeId('spiffe://example.org/ns/shop/sa/web')); // true
 */
export function spiffeIdTest(pattern: string): SpiffeIdTest {
  if (!pattern.includes('*')) return (id) => id.toString() === pattern;
  const [trustDomain = '', ...segments] = pattern.slice('spiffe://'.length).split('/');
  const isOpen = segments.at(-1) === '**';
  const trustDomainTest = globTest(trustDomain);
  const tests = (isOpen ? segments.slice(0, -1) : segments).map(segmentTest);
  // Most IDs are told apart by what is written before the first and after the last `*`, without a look at their segments.
  const start = pattern.slice(0, pattern.indexOf('*'));
  const end = isOpen ? '' : pattern.slice(pattern.lastIndexOf('*') + 1);
  return (id) => {
    const text = id.toString();
    if (!text.endsWith(end) || !text.startsWith(start)) return false;
    return trustDomainTest(id.trustDomain.name) && pathMatches(id.path, tests, isOpen);
  };
}

// A segment is never empty, so a lone `*` needs no look at it.
const segmentTest = (segment: string): TextTest => globTest(segment);

function pathMatches(path: string, tests: readonly TextTest[], isOpen: boolean): boolean {
  const segments = path === '' ? [] : path.slice(1).split('/');
  const fits = isOpen ? segments.length > tests.length : segments.length === tests.length;
  return fits && tests.every((test, index) => test(segments[index] ?? ''));
}
