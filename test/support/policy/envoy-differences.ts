// Where a call of the conformance table comes to another answer through Envoy and ext_authz than from the engine alone, and why
// that is right.
import type { Row } from './table-types.ts';

/** Calls that differ for one reason. */
export interface Difference {
  readonly reason: string;
  /** Title of the scenario, the call as the table has it, and the answer through Envoy. */
  readonly calls: readonly (readonly [title: string, call: string, answer: string])[];
}

const REFUSED = 'not asked, 400';
const METHODS = 'Methods';
const HOSTS = 'Hosts';
const AGREE = 'Host and :authority must agree';
const REPEATED = 'Headers that must not be repeated';
const PATHS = 'Paths are normalised once, before matching';
const TRICKS = 'Tricks around a DENY';

/** All of them. */
export const ENVOY_DIFFERENCES: readonly Difference[] = [
  {
    reason: 'what is no HTTP, or none that Envoy takes, is refused by Envoy itself: all of these are denied in the table too',
    calls: [
      [METHODS, 'get /orders', REFUSED],
      [METHODS, 'Get /orders', REFUSED],
      [METHODS, 'purge /orders', REFUSED],
      [METHODS, 'GE\u0001T /orders', REFUSED],
      [HOSTS, 'GET / | host=orders shop', REFUSED],
      [HOSTS, 'GET / | host=b\u00fccher.example.org', REFUSED],
      [REPEATED, 'GET / | content-length: 1 | content-length: 2', REFUSED],
      [REPEATED, 'GET / | bad name: a', REFUSED],
      [REPEATED, 'GET / | x: a\r\nb', REFUSED],
      [REPEATED, 'GET / | x: a\u0000b', REFUSED],
      [PATHS, 'GET /orders#a', REFUSED],
      [PATHS, 'GET orders', REFUSED],
      [PATHS, 'GET ', REFUSED],
      [PATHS, 'GET *', REFUSED],
      [PATHS, 'GET /orders/\u00e9', REFUSED],
      [PATHS, 'GET /orders/\u0000', REFUSED],
      [PATHS, 'GET /orders/a b', REFUSED],
      [TRICKS, 'GET /admin#', REFUSED],
      [TRICKS, 'GET \\admin', REFUSED],
    ],
  },
  {
    reason: 'no route of Envoy matches a target that is no path, so the request goes nowhere',
    calls: [[PATHS, 'OPTIONS *', 'not asked, 404']],
  },
  {
    reason: 'the authority of an absolute target takes the place of Host (RFC 9112 section 3.2.2), for the service too',
    calls: [
      [AGREE, 'GET http://other/', 'deny no_rule_matches'],
      [TRICKS, 'GET http://other/admin', 'deny shop/no-admin#0'],
    ],
  },
  {
    reason: 'over HTTP/2 Envoy drops a host header beside :authority before it asks, and the service does not get it either',
    calls: [
      [AGREE, 'GET / | host: other', 'allow shop/p#0'],
      [AGREE, 'GET / | host=other | host: orders', 'deny no_rule_matches'],
    ],
  },
  {
    reason: 'Envoy joins repeated Host lines, which makes none that is valid',
    calls: [[AGREE, 'GET / | host= | host: orders | Host: orders', 'deny host_invalid']],
  },
  {
    reason:
      'Envoy joins repeated authorization headers before it asks, and the service gets them joined as well: one that is no token',
    calls: [[REPEATED, 'GET / | authorization: a | Authorization: b', 'allow shop/all#0']],
  },
];

const BY_CALL = new Map<string, string>(
  ENVOY_DIFFERENCES.flatMap(({ calls }) => calls.map(([title, call, answer]) => [`${title} | ${call}`, answer] as const)),
);

/** The answer through Envoy where it differs from the table's. */
export function differenceOf(title: string, [, line, , { host, headers = [] } = {}]: Row): string | undefined {
  const named = host === undefined ? [] : [`host=${host}`];
  return BY_CALL.get([title, line, ...named, ...headers.map(([name, value]) => `${name}: ${value}`)].join(' | '));
}
