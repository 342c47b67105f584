// Where a call of the conformance table comes to another answer through nginx, or through the middleware on Node's own server, than from
// the engine alone, and why that is right.
import { AGREE, HOSTS, METHODS, PATHS, REPEATED, TRICKS } from './difference.ts';
import type { Difference } from './difference.ts';
import type { Row } from './table-types.ts';

const REFUSED = 'not asked, 400';

const ONE_HOST: Difference = {
  reason: 'HTTP/1.1 has no :authority that a Host could differ from',
  calls: [[AGREE, 'GET / | host: other', 'deny no_rule_matches']],
};

/** All of them behind nginx. */
export const NGINX_DIFFERENCES: readonly Difference[] = [
  ONE_HOST,
  {
    reason: 'what is no HTTP, or none that nginx takes, is refused by nginx itself: all of these are denied in the table too',
    calls: [
      [METHODS, 'get /orders', REFUSED],
      [METHODS, 'Get /orders', REFUSED],
      [METHODS, 'purge /orders', REFUSED],
      [METHODS, 'GE\u0001T /orders', REFUSED],
      [HOSTS, 'GET / | host=orders shop', REFUSED],
      [HOSTS, 'GET / | host=', REFUSED],
      [AGREE, 'GET / | host=other | host: orders', REFUSED],
      [AGREE, 'GET / | host= | host: orders | Host: orders', REFUSED],
      [REPEATED, 'GET / | authorization: a | Authorization: b', REFUSED],
      [REPEATED, 'GET / | content-length: 1 | content-length: 2', REFUSED],
      [REPEATED, 'GET / | bad name: a', REFUSED],
      [REPEATED, 'GET / | x: a\u0000b', REFUSED],
      [PATHS, 'GET /../orders', REFUSED],
      [PATHS, 'GET /orders/../../x', REFUSED],
      [PATHS, 'GET /%2e%2e/orders', REFUSED],
      [PATHS, 'GET /%2e%2e%2forders', REFUSED],
      [PATHS, 'GET /orders%00', REFUSED],
      [PATHS, 'GET /orders%', REFUSED],
      [PATHS, 'GET /orders%2', REFUSED],
      [PATHS, 'GET /orders%zz', REFUSED],
      [PATHS, 'GET /orders%u002e', REFUSED],
      [PATHS, 'GET orders', REFUSED],
      [PATHS, 'GET ', REFUSED],
      [PATHS, 'GET *', REFUSED],
      [PATHS, 'GET /orders/\u0000', REFUSED],
      [PATHS, 'GET /orders/a b', REFUSED],
      [PATHS, `GET /${'a'.repeat(9000)}`, 'not asked, 414'],
      [PATHS, 'OPTIONS *', REFUSED],
      [TRICKS, 'GET /admin%00', REFUSED],
      [TRICKS, 'GET /..%2fadmin', REFUSED],
      [TRICKS, 'GET \\admin', REFUSED],
    ],
  },
  {
    reason: 'nginx drops lines that are no header before it asks, and the service does not get them either',
    calls: [[REPEATED, 'GET / | x: a\r\nb', 'allow shop/all#0']],
  },
];

/** All of them with the middleware. */
export const MIDDLEWARE_DIFFERENCES: readonly Difference[] = [
  ONE_HOST,
  {
    reason: 'HTTP/1.1 has no :authority: both come as Host',
    calls: [[AGREE, 'GET / | host=other | host: orders', 'deny host_repeated']],
  },
  {
    reason: "what is no HTTP is refused by Node's own parser: all of these are denied in the table too",
    calls: [
      [METHODS, 'get /orders', REFUSED],
      [METHODS, 'Get /orders', REFUSED],
      [METHODS, 'purge /orders', REFUSED],
      [METHODS, 'GE\u0001T /orders', REFUSED],
      [REPEATED, 'GET / | content-length: 1 | content-length: 2', REFUSED],
      [REPEATED, 'GET / | bad name: a', REFUSED],
      [REPEATED, 'GET / | x: a\r\nb', REFUSED],
      [REPEATED, 'GET / | x: a\u0000b', REFUSED],
      [PATHS, 'GET orders', REFUSED],
      [PATHS, 'GET ', REFUSED],
      [PATHS, 'GET /orders/\u00e9', REFUSED],
      [PATHS, 'GET /orders/\u0000', REFUSED],
      [PATHS, 'GET /orders/a b', REFUSED],
      [TRICKS, 'GET \\admin', REFUSED],
    ],
  },
];

/** The differences by scenario and call. */
export class Differences {
  readonly #all: ReadonlyMap<string, string>;
  readonly #met = new Set<string>();

  constructor(differences: readonly Difference[]) {
    const calls = differences.flatMap((each) => each.calls);
    this.#all = new Map(calls.map(([title, call, answer]) => [`${title} | ${call}`, answer]));
  }

  /** The answer to a call where it differs from the table's. */
  of(title: string, [, line, , { host, headers = [] } = {}]: Row): string | undefined {
    const named = host === undefined ? [] : [`host=${host}`];
    const key = [title, line, ...named, ...headers.map(([name, value]) => `${name}: ${value}`)].join(' | ');
    this.#met.add(key);
    return this.#all.get(key);
  }

  /** Those whose call is not in the table. */
  get unmet(): readonly string[] {
    return [...this.#all.keys()].filter((key) => !this.#met.has(key));
  }
}
