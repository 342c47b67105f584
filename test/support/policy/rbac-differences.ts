// Where a call of the conformance table comes to another answer by Envoy's own filters than from the engine, given what these cannot
// see, and why that is right.
import { AGREE, HOSTS, PATHS, TRICKS } from './difference.ts';
import type { Difference } from './difference.ts';
import { refusedByEnvoy } from './envoy-differences.ts';
import type { Row } from './table-types.ts';

const REFUSED = 'not judged, 400';
const PREFIXES = 'Prefixes end at a segment';
const DOTS = 'Dot segments';
const AUDIT = 'Nothing declared, default audit';
const ALLOW = 'Nothing declared, default allow';
const DENY = 'Nothing declared, default deny';

/**
 * All of them. No call of the table is about what is too long where a rule would let it in: Envoy's filters do not refuse it as such, as
 * docs/envoy.md says, so that it is judged by the rules.
 */
export const RBAC_DIFFERENCES: readonly Difference[] = [
  refusedByEnvoy(REFUSED),
  {
    reason: 'Envoy refuses encoded slashes and zeros where it normalises paths, also where nothing is declared',
    calls: [
      [AUDIT, 'GET /a%2fb', REFUSED],
      [ALLOW, 'GET /a%2fb', REFUSED],
      [DENY, 'GET /a%2fb', REFUSED],
      [PATHS, 'GET /%2e%2e%2forders', REFUSED],
      [PATHS, 'GET /orders%2f7', REFUSED],
      [PATHS, 'GET /orders%2F7', REFUSED],
      [PATHS, 'GET /orders%5c7', REFUSED],
      [PATHS, 'GET /orders%00', REFUSED],
      [TRICKS, 'GET /admin%2fx', REFUSED],
      [TRICKS, 'GET /admin%00', REFUSED],
      [TRICKS, 'GET /..%2fadmin', REFUSED],
      [TRICKS, 'GET /admin%5cx', REFUSED],
    ],
  },
  {
    reason:
      'allowed after the proxy changed it: Envoy resolves the path before its filters see it, and the service gets what they see',
    calls: [
      [PATHS, 'GET /../orders', 'allow'],
      [PATHS, 'GET /%2e%2e/orders', 'allow'],
      [PATHS, 'GET /orders\\7', 'allow'],
      [PATHS, 'GET /./orders', 'allow'],
      [PATHS, 'GET /orders/.', 'allow'],
      [PATHS, 'GET /orders/./7', 'allow'],
      [PATHS, 'GET /orders/../orders', 'allow'],
      [PATHS, 'GET /x/../orders', 'allow'],
      [PATHS, 'GET /orders/%2E/7', 'allow'],
      [PREFIXES, 'GET /x/../api/v1', 'allow'],
      [PREFIXES, 'GET /./api', 'allow'],
      [PREFIXES, 'GET //api', 'allow'],
      [PATHS, 'GET //orders', 'allow'],
      [TRICKS, 'GET //admin', 'deny shop/no-admin#0'],
      [TRICKS, 'GET /./admin', 'deny shop/no-admin#0'],
      [TRICKS, 'GET /x/../admin', 'deny shop/no-admin#0'],
      [TRICKS, 'GET /admin/../admin', 'deny shop/no-admin#0'],
      [TRICKS, 'GET /admin/../public', 'allow'],
      [TRICKS, 'GET /admin/%2e%2e/public', 'allow'],
      [DOTS, 'GET /admin/../public/x', 'allow'],
      [DOTS, 'GET /admin/%2e%2e/public/x', 'allow'],
      [DOTS, 'GET /admin/.%2E/public/x', 'allow'],
      [DOTS, 'GET /public/./x', 'allow'],
    ],
  },
  {
    reason: 'no route of Envoy matches a target that is no path, so the request goes nowhere',
    calls: [[PATHS, 'OPTIONS *', 'not judged, 404']],
  },
  {
    reason: 'the authority of an absolute target takes the place of Host (RFC 9112 section 3.2.2), for the service too',
    calls: [[TRICKS, 'GET http://other/admin', 'deny shop/no-admin#0']],
  },
  {
    reason: 'over HTTP/2 Envoy drops a host header beside :authority, and the service does not get it either',
    calls: [[AGREE, 'GET / | host: other', 'allow']],
  },
  {
    reason: 'Envoy joins repeated Host lines, which makes none that is valid',
    calls: [[AGREE, 'GET / | host= | host: orders | Host: orders', 'deny host_invalid']],
  },
  {
    reason: 'whether two texts are one IPv6 address cannot be told: only the shortest form lets in',
    calls: [[HOSTS, 'GET / | host=[2001:DB8:0::1]:443', 'deny no_rule_matches']],
  },
  {
    reason:
      'a DENY rule over a header value with bytes beyond ASCII holds for every value: how Envoy has these bytes is not told',
    calls: [['Bytes of headers beyond ASCII', 'GET / | x-tenant: acme | x-role: guest', 'deny shop/d#0']],
  },
  {
    reason:
      'that the same value came twice cannot be told: Envoy compares each value by itself; whoever reads the header reads that value',
    calls: [['Headers', 'GET / | x-tenant: acme | x-tenant: acme', 'allow']],
  },
  {
    reason:
      'of repeated headers some other value might not match an expression, which cannot be told: such a rule lets nobody in',
    calls: [['Parts of headers', 'GET / | accept: image/png', 'deny no_rule_matches']],
  },
];

const BY_CALL = new Map<string, string>(
  RBAC_DIFFERENCES.flatMap(({ calls }) => calls.map(([title, call, answer]) => [`${title} | ${call}`, answer] as const)),
);

/** The answer of Envoy where it differs from the engine's. */
export function rbacDifferenceOf(title: string, [, line, , { host, headers = [] } = {}]: Row): string | undefined {
  const named = host === undefined ? [] : [`host=${host}`];
  return BY_CALL.get([title, line, ...named, ...headers.map(([name, value]) => `${name}: ${value}`)].join(' | '));
}
