// Random requests as they arrive, and what Envoy makes of them before its filters see them.
import * as fc from 'fast-check';
import type { RawHeader } from '../../../policy/normalize/headers.ts';

/** A request on its way to Envoy. */
export interface Arriving {
  readonly method: string;
  readonly target: string;
  readonly authority: string;
  readonly headers: readonly RawHeader[];
}

const segment = fc.oneof(
  fc.constantFrom('orders', 'admin', '7', 'static', 'a.css', 'shop.v1.Orders', 'Get', 'items', '$x', '%24x', 'a%20b', '%C3%a9'),
  fc.constantFrom('', '.', '..', '%2e', '%2E%2e', 'x.', 'x%20', 'x;a', '%3Bx', '%2f', '%5c', '%00', '%0a', '%7f', '%252f', '%25'),
  fc.constantFrom(
    '%',
    '%2',
    '%zz',
    '%6frders',
    'or%64ers',
    '%ff',
    '%c3',
    '%c0%af',
    '%ed%a0%80',
    '%f0%9f%98%80',
    '%e2%82%ac',
    '\u00e9',
  ),
);
const target = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('/', '/orders', '/orders/', '/orders/7', '/admin', '/static/', '/shop.v1.Orders/Get') },
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.array(segment, { minLength: 1, maxLength: 3 }), fc.constantFrom('', '', '/', '?a=%2f/../', '#x'))
      .map(([segments, end]) => `/${segments.join('/')}${end}`),
  },
);
const header = fc.oneof(
  fc.constantFrom<RawHeader>(['X-Tenant', 'acme'], ['x-tenant', 'a,b'], ['X-Tenant', 'ac, me'], ['x-tenant', 'caf\u00e9']),
  fc.constantFrom<RawHeader>(['x-debug', '1'], ['x-debug', ''], ['authorization', 'a'], ['content-type', 'text/html']),
  fc.constantFrom<RawHeader>(['content-type', 'application/grpc'], ['Content-Type', 'Application/gRPC+proto']),
  fc.constantFrom<RawHeader>(['content-type', 'application/grpcx'], ['content-type', 'application/grpc ;a']),
  fc.constantFrom<RawHeader>(['content-type', 'application/grpc; '], ['content-type', 'application/grpc;\u00a0']),
  // Over HTTP/2 blanks are not taken off.
  fc.constantFrom<RawHeader>(['x-tenant', ' acme'], ['x-tenant', 'acme\t'], ['x-tenant', '\u00a0acme'], ['x-debug', ' 1 ']),
);

/** A request. */
export const arriving: fc.Arbitrary<Arriving> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'POST', 'PUT', 'DELETE', 'PURGE', 'get', 'delete', 'OPTIONS'),
  target,
  authority: fc.constantFrom(
    'orders.shop',
    'Orders.Shop:8443',
    'shop.',
    'a.b.example.org',
    'a.example.org:70000',
    'a..b',
    '[::1]:80',
    'x y',
  ),
  headers: fc.array(header, { maxLength: 3 }),
});

/** What Envoy does with a path before filters see it, as docs/envoy.md configures it; undefined where it refuses the request. */
export function normalizedByEnvoy(target: string): string | undefined {
  const [path = '', ...query] = target.split('?');
  if (target.includes('#') || /%2f|%5c|%00/i.test(path) || /[^!-~]/.test(path)) return undefined;
  const decoded = path.replaceAll('\\', '/').replaceAll(/%([0-9A-Fa-f]{2})/g, (whole, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return /[A-Za-z0-9._~-]/.test(character) ? character : whole;
  });
  const kept: string[] = [];
  const segments = decoded.split('/').slice(1);
  for (const [index, each] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (each === '..') kept.pop();
    if (each === '.' || each === '..' || each === '') {
      if (isLast) kept.push('');
    } else kept.push(each);
  }
  const special = /["<>^`{|}]/g;
  const encode = (text: string): string => `%${text.charCodeAt(0).toString(16).toUpperCase()}`;
  return [`/${kept.join('/')}`.replaceAll(special, encode), ...query].join('?');
}

/** Those that Envoy keeps as one, whatever it does with others. */
const JOINED = new Set(['authorization', 'content-type', 'origin', 'from']);

/**
 * Headers as filters see them, with the pseudo-headers: repeated ones one by one, or joined as earlier releases do.
 */
export function headersOf(
  { method, authority, headers }: Arriving,
  path: string,
  areJoined: boolean,
): ReadonlyMap<string, readonly string[]> {
  const seen = new Map([
    [':method', [method]],
    [':authority', [authority]],
    [':path', [path]],
  ]);
  for (const [rawName, value] of headers) {
    const name = rawName.toLowerCase();
    const values = [...(seen.get(name) ?? []), value];
    seen.set(name, areJoined || JOINED.has(name) ? [values.join(',')] : values);
  }
  return seen;
}
