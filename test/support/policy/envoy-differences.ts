// Where a call of the conformance table comes to another answer through Envoy and ext_authz than from the engine alone, and why
// that is right.
import { AGREE, HOSTS, METHODS, PATHS, REPEATED, TRICKS } from './difference.ts';
import type { Difference } from './difference.ts';
import type { Row } from './table-types.ts';

const REFUSED = 'not asked, 400';

/** What Envoy answers by itself, whatever its filters are. `answer`: how the point's run words that. */
export function refusedByEnvoy(answer: string): Difference {
  return {
    reason: 'what is no HTTP, or none that Envoy takes, is refused by Envoy itself: all of these are denied in the table too',
    calls: [
      [METHODS, 'get /orders', answer],
      [METHODS, 'Get /orders', answer],
      [METHODS, 'purge /orders', answer],
      [METHODS, 'GE\u0001T /orders', answer],
      [HOSTS, 'GET / | host=orders shop', answer],
      [HOSTS, 'GET / | host=b\u00fccher.example.org', answer],
      [REPEATED, 'GET / | content-length: 1 | content-length: 2', answer],
      [REPEATED, 'GET / | bad name: a', answer],
      [REPEATED, 'GET / | x: a\r\nb', answer],
      [REPEATED, 'GET / | x: a\u0000b', answer],
      [PATHS, 'GET /orders#a', answer],
      [PATHS, 'GET orders', answer],
      [PATHS, 'GET ', answer],
      [PATHS, 'GET *', answer],
      [PATHS, 'GET /orders/\u00e9', answer],
      [PATHS, 'GET /orders/\u0000', answer],
      [PATHS, 'GET /orders/a b', answer],
      [TRICKS, 'GET /admin#', answer],
      [TRICKS, 'GET \\admin', answer],
    ],
  };
}

/** All of them. */
export const ENVOY_DIFFERENCES: readonly Difference[] = [
  refusedByEnvoy(REFUSED),
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
