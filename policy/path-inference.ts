/** A path, or a template where it has segments that look like identifiers. */
export type InferredPath = { readonly exact: string } | { readonly template: string };

const NUMBER = /^[0-9]+$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HEX = /^(?=.*[0-9])[0-9a-f]{12,}$/i;
const LONG_MIXED = /^(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_-]{20,}$/;
const EMAIL = /^[^@]+@[^@]+\.[A-Za-z]{2,}$/;
const IDENTIFIERS = [NUMBER, UUID, HEX, LONG_MIXED, EMAIL];

/**
 * The template that a recorded path was probably made from: numbers, UUIDs, long hexadecimal and mixed texts, and mail addresses become
 * variables. What has braces already is a template that somebody recorded.
 *
 * @example
 * inferTemplate('/orders/42/items'); // { template: '/orders/{id}/items' }
 */
export function inferTemplate(path: string): InferredPath {
  let count = 0;
  const segments = path.split('/').map((segment) => {
    if (/^\{.*\}$/.test(segment) || !IDENTIFIERS.some((each) => each.test(segment))) return segment;
    count += 1;
    return count === 1 ? '{id}' : `{id${count}}`;
  });
  const text = segments.join('/');
  return /\{.*\}/.test(text) ? { template: text } : { exact: text };
}
