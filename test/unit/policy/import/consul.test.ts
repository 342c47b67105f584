import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { importConsul } from '../../../../policy/import/consul.ts';
import { verdictsOf } from '../../../support/policy/verdicts.ts';

const intentions = (sources: string, destination = '{ name: orders }'): object =>
  parse(`
apiVersion: consul.hashicorp.com/v1alpha1
kind: ServiceIntentions
metadata: { name: orders }
spec: { destination: ${destination}, sources: ${sources} }
`);

function imported(documents: readonly object[], defaultPolicy: 'allow' | 'deny' = 'deny') {
  const { resources, losses } = importConsul(documents, { namespace: 'shop', defaultPolicy });
  return { resources, losses: losses.map(({ field, effect }) => `${field}: ${effect}`) };
}

const trimmed = (text: string): string => text.trim().replaceAll(/^\s+/gm, '');

/** Title, sources, what is decided, what is lost. */
const CASES: readonly (readonly [string, string, string, readonly string[]])[] = [
  [
    'a service',
    '[{ name: web, action: allow }]',
    'web GET /: allow\nweb connect: allow\nbatch GET /: deny\nnobody GET /: deny',
    [],
  ],
  ['a denied one', '[{ name: web, action: deny }]', 'web GET /: deny\nbatch GET /: deny', []],
  [
    'all services of the namespace',
    '[{ name: "*", action: allow }]',
    'web GET /: allow\nbatch GET /: deny\nnobody GET /: deny',
    ['spec.sources[0]: allows less'],
  ],
  [
    'all services of all namespaces are those of this cluster',
    '[{ name: "*", namespace: "*", action: allow }]',
    'web GET /: allow\nbatch GET /: allow\npartner GET /: deny\nnobody GET /: deny',
    [],
  ],
  [
    'all but one: what names its source decides alone',
    '[{ name: "*", namespace: "*", action: allow }, { name: web, action: deny }]',
    'web GET /: deny\nbatch GET /: allow\nnobody GET /: deny',
    [],
  ],
  [
    'none but one',
    '[{ name: "*", namespace: "*", action: deny }, { name: batch, namespace: billing, action: allow }]',
    'web GET /: deny\nbatch GET /: allow',
    [],
  ],
  [
    'the first permission that matches decides',
    `[{ name: web, permissions: [
        { action: deny, http: { pathPrefix: /admin } },
        { action: allow, http: { pathPrefix: / , methods: [GET] } },
        { action: allow, http: { pathExact: /orders, methods: [POST] } }] }]`,
    `web GET /: allow
     web GET /orders/1: allow
     web GET /admin: deny
     web GET /administrator: deny
     web POST /orders: allow
     web POST /orders/1: deny
     web connect: deny`,
    [],
  ],
  [
    'a permission that denies everything ends the list',
    '[{ name: web, permissions: [{ action: deny }, { action: allow, http: { pathPrefix: / } }] }]',
    'web GET /: deny',
    [],
  ],
  [
    'a denied combination is kept from what follows by each of its fields',
    `[{ name: web, permissions: [
        { action: deny, http: { pathExact: /x, methods: [POST] } }, { action: allow, http: { pathPrefix: / } }] }]`,
    'web POST /x: deny\nweb GET /x: deny\nweb GET /y: allow\nweb POST /y: deny',
    ['spec.sources[0].permissions[0]: allows less'],
  ],
  [
    'a denial of what lacks a header',
    `[{ name: web, permissions: [
        { action: deny, http: { header: [{ name: x-a, present: true, invert: true }] } }, { action: allow, http: { pathPrefix: / } }] }]`,
    'web GET /: deny',
    ['spec.sources[0].permissions[0]: rule dropped'],
  ],
  [
    'headers',
    `[{ name: web, permissions: [
        { action: allow, http: { header: [{ name: x-a, exact: "1" }, { name: x-b, contains: "b", ignoreCase: true }] } }] }]`,
    'web GET /: deny',
    [],
  ],
  [
    'methods in any case, each once',
    '[{ name: web, permissions: [{ action: allow, http: { methods: [get, GET] } }] }]',
    'web GET /: allow\nweb POST /: deny',
    [],
  ],
  [
    'a denied combination of headers is kept from what follows by each of them',
    `[{ name: web, permissions: [
        { action: deny, http: { header: [{ name: x-a, present: true }, { name: x-b, present: true }] } },
        { action: allow, http: { pathPrefix: / } }] }]`,
    'web GET /: allow',
    ['spec.sources[0].permissions[0]: allows less'],
  ],
  [
    'a denial that cannot be said ends the list',
    `[{ name: web, permissions: [
        { action: deny, http: { pathExact: "/a*b" } }, { action: allow, http: { pathPrefix: / } }] }]`,
    'web GET /: deny',
    ['spec.sources[0].permissions[0]: rule dropped'],
  ],
  [
    'a token',
    '[{ name: web, permissions: [{ action: allow, http: { pathPrefix: / }, jwt: { providers: [{ name: a }] } }] }]',
    'web GET /: deny',
    ['spec.sources[0].permissions[0]: rule dropped'],
  ],
  ['a peer', '[{ name: web, peer: other, action: allow }]', 'web GET /: deny', ['spec.sources[0].peer: rule dropped']],
];

const REGISTERED = 'default_policy: allows less';
const MORE = 'spec.sources[0]: denies more';

describe('Consul', () => {
  test.each(CASES)('%s', (_title, sources, decided, lost) => {
    const { resources, losses } = imported([intentions(sources)]);
    expect(verdictsOf(resources, decided)).toBe(trimmed(decided));
    expect(losses).toEqual(lost);
  });

  test.each([
    ['exact: "1"', undefined, 'deny'],
    ['exact: "1"', '1', 'deny'],
    ['exact: "1"', '2', 'allow'],
    ['prefix: a', 'ab', 'deny'],
    ['prefix: a', 'b', 'allow'],
    ['present: true', undefined, 'allow'],
    ['present: true', '1', 'deny'],
  ])('an inverted condition on a header, %s, sent as %j', (condition, sent, expected) => {
    const { resources } = imported([
      intentions(
        `[{ name: web, permissions: [{ action: allow, http: { header: [{ name: x-a, ${condition}, invert: true }] } }] }]`,
      ),
    ]);
    const headers = sent === undefined ? [] : [['x-a', sent] as const];
    expect(verdictsOf(resources, [['web', 'GET /', '', { headers }]])).toBe(`web GET /: ${expected}`);
  });

  test('headers that hold', () => {
    const { resources } = imported([
      intentions(
        '[{ name: web, permissions: [{ action: allow, http: { header: [{ name: x-a, prefix: "a.", ignoreCase: true }] } }] }]',
      ),
    ]);
    expect(resources).toMatchObject([
      { spec: { rules: [{ to: [{ headers: [{ name: 'x-a', regex: String.raw`(?i)a\..*` }] }] }] } },
    ]);
  });

  test('with a default of allow, whoever is not named comes in', () => {
    const decided = 'web GET /: deny\nbatch GET /: allow\nnobody GET /: deny';
    expect(verdictsOf(imported([intentions('[{ name: web, action: deny }]')], 'allow').resources, decided)).toBe(decided);
  });

  test.each([
    ['none but one', '[{ name: web, action: allow }, { name: "*", action: deny }]', 'web GET /: allow\nbatch GET /: deny', []],
    ['a service in any namespace', '[{ name: batch, action: deny }]', 'web GET /: allow\nbatch GET /: deny', [REGISTERED]],
    ['a service of one namespace', '[{ name: web, namespace: billing, action: deny }]', 'web GET /: allow', [REGISTERED]],
    [
      'one of a peer is none of this cluster',
      '[{ name: web, peer: p, action: deny }, { name: "*", peer: p, action: deny }]',
      'web GET /: allow\npartner GET /: deny',
      [REGISTERED],
    ],
    [
      'requests that no permission is about',
      '[{ name: web, permissions: [{ action: deny, http: { pathPrefix: /admin } }] }]',
      'web GET /admin: deny\nweb GET /: deny\nbatch GET /: allow',
      ['spec.sources[0].permissions: allows less', REGISTERED],
    ],
  ])('with a default of allow: %s', (_title, sources, decided, lost) => {
    const { resources, losses } = imported([intentions(sources)], 'allow');
    expect(verdictsOf(resources, decided)).toBe(decided);
    expect(losses).toEqual(lost);
  });

  const EVERYWHERE = '{ name: "*" }';

  test.each([
    ['one', EVERYWHERE, '[{ name: batch, action: deny }]', 'web GET /: allow\nbatch GET /: deny', []],
    [
      'all but one',
      EVERYWHERE,
      '[{ name: web, action: allow }, { name: "*", namespace: billing, action: deny }]',
      'web GET /: allow\nbatch GET /: deny',
      ['spec.sources[0]: allows less'],
    ],
    [
      'a namespace but one of its services',
      EVERYWHERE,
      '[{ name: batch, namespace: billing, action: allow }, { name: "*", namespace: billing, action: deny }]',
      'web GET /: allow\nbatch GET /: allow',
      ['spec.sources[0]: allows less'],
    ],
    [
      'one, in one namespace',
      '{ name: "*", namespace: shop }',
      '[{ name: batch, namespace: billing, action: deny }]',
      'batch GET /: deny',
      [],
    ],
    [
      'one, in another namespace',
      '{ name: "*", namespace: billing }',
      '[{ name: web, action: deny }]',
      'web GET /: allow',
      [MORE],
    ],
    [
      'some requests of one',
      EVERYWHERE,
      '[{ name: batch, permissions: [{ action: deny, http: { pathPrefix: /admin } }] }]',
      'web GET /: allow\nbatch GET /admin: deny\nbatch GET /: deny',
      ['spec.sources[0]: allows less', 'spec.sources[0].permissions: denies more'],
    ],
    [
      'one of a peer',
      EVERYWHERE,
      '[{ name: web, peer: p, action: deny }]',
      'web GET /: allow',
      ['spec.sources[0].peer: not carried over'],
    ],
    ['everybody', EVERYWHERE, '[{ name: "*", action: deny }]', 'web GET /: deny', []],
    ['everybody, in one namespace', '{ name: "*", namespace: shop }', '[{ name: "*", action: deny }]', 'web GET /: deny', [MORE]],
  ])('with a default of allow, all destinations deny %s', (_title, destination, sources, decided, lost) => {
    const { resources, losses } = imported([intentions(sources, destination)], 'allow');
    expect(verdictsOf(resources, decided, 'allow')).toBe(decided);
    expect(losses).toEqual(lost);
  });

  test('a DENY for all destinations holds where a more exact intention lets in, and says so', () => {
    const wide = intentions('[{ name: batch, action: deny }, { name: web, action: deny }]', EVERYWHERE);
    const { resources, losses } = imported([wide, intentions('[{ name: batch, action: allow }]')], 'allow');
    const decided = 'web GET /: deny\nbatch GET /: deny';
    expect(verdictsOf(resources, decided, 'allow')).toBe(decided);
    expect(losses).toContain(MORE);
    expect(losses.filter((each) => each.endsWith('denies more'))).toEqual([MORE]);
  });

  test('with a default of deny, a denial for all destinations is said to be none', () => {
    expect(imported([intentions('[{ name: web, action: deny }]', EVERYWHERE)])).toEqual({
      resources: [],
      losses: ['spec.sources[0]: not carried over'],
    });
  });

  test('a destination of another partition lets nobody in', () => {
    const { resources, losses } = imported([
      intentions('[{ name: web, action: allow }]', '{ name: orders, partition: p }'),
      intentions('[{ name: batch, namespace: billing, action: allow }]'),
    ]);
    expect(verdictsOf(resources, 'web GET /: deny\nbatch GET /: allow')).toBe('web GET /: deny\nbatch GET /: allow');
    expect(losses).toEqual(['spec.destination.partition: rule dropped']);
  });

  test('an intention for all destinations is less exact than one for this, and holds for those that are named', () => {
    const all = intentions(
      '[{ name: batch, namespace: billing, action: allow }, { name: web, action: allow }]',
      '{ name: "*", namespace: "*" }',
    );
    const { resources, losses } = imported([all, intentions('[{ name: web, action: deny }]')]);
    const decided = 'web GET /: deny\nbatch GET /: allow\nadmin GET /: deny';
    expect(verdictsOf(resources, decided)).toBe(decided);
    expect(losses).toEqual(['spec.sources[0]: allows less', 'spec.sources[1]: allows less', 'spec.sources[0]: denies more']);
  });

  test('whoever denies everything to everybody gets a policy for every workload', () => {
    const { resources } = imported([
      intentions('[{ name: "*", namespace: "*", action: deny }]', '{ name: "*", namespace: "*" }'),
    ]);
    expect(resources).toMatchObject([{ kind: 'ClusterAuthorizationPolicy', spec: { action: 'ALLOW', rules: [] } }]);
    expect(verdictsOf(resources, 'web GET /: deny', 'allow')).toBe('web GET /: deny');
  });

  test('a config entry as JSON', () => {
    const entry = {
      Kind: 'service-intentions',
      Name: 'orders',
      Sources: [
        {
          Name: 'web',
          Precedence: 9,
          Type: 'consul',
          Permissions: [{ Action: 'allow', HTTP: { PathExact: '/a', Methods: ['GET'] } }],
        },
      ],
    };
    const decided = 'web GET /a: allow\nweb GET /b: deny';
    expect(verdictsOf(imported([entry]).resources, decided)).toBe(decided);
  });

  test('tokens that a destination asks for', () => {
    const document = intentions('[{ name: web, action: allow }]');
    Object.assign(Object(document).spec, { jwt: { providers: [{ name: 'a' }] } });
    const { resources, losses } = imported([document]);
    expect(verdictsOf(resources, 'web GET /: deny')).toBe('web GET /: deny');
    expect(losses).toEqual(['spec.jwt: rule dropped']);
  });

  test.each([
    ['sources: nothing', intentions('[{ name: web, action: maybe }]'), 'ServiceIntentions orders:\nsources[0].action'],
    ['an unknown field', intentions('[{ name: web, acton: allow }]'), 'sources[0].acton'],
  ])('%s is named', (_title, document, message) => {
    expect(() => imported([document])).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(message) }),
    );
  });

  test('other documents are passed over', () => {
    expect(
      imported([
        { kind: 'Service', apiVersion: 'v1' },
        { Kind: 'proxy-defaults', Name: 'global' },
      ]).resources,
    ).toEqual([]);
  });
});
