import { describe, expect, test } from 'vitest';
import { isIdentityError } from '../../../../core/errors.ts';
import { parseOpenApi } from '../../../../policy/documents/openapi.ts';
import { thrownBy } from '../../../support/thrown-by.ts';

const described = (own: object) => ({ openapi: '3.1.0', ...own });
const get = { get: { operationId: 'read' } };
const read = (own: object): readonly string[] => parseOpenApi(described(own)).map(({ method, path }) => `${method} ${path}`);

describe('operations of an OpenAPI description', () => {
  test.each<[string, object, readonly string[]]>([
    ['methods of a path', { paths: { '/a': { get: {}, post: {}, parameters: [], 'x-own': {} } } }, ['GET /a', 'POST /a']],
    ['variables', { paths: { '/orders/{id}/items': get } }, ['GET /orders/{id}/items']],
    ['a variable within a segment stands for any segment', { paths: { '/f/{name}.json': get } }, ['GET /f/{name}']],
    ['paths as they are normalised', { paths: { '/a/': get, '/b%20c//d': get } }, ['GET /a', 'GET /b c/d']],
    ['base path of a server', { servers: [{ url: 'https://a.example/v1/' }], paths: { '/a': get } }, ['GET /v1/a']],
    ['relative server', { servers: [{ url: '/v2' }], paths: { '/a': get } }, ['GET /v2/a']],
    [
      'several servers, each base path once',
      { servers: [{ url: 'https://a.example/v1' }, { url: 'https://b.example/v1' }, { url: '/' }], paths: { '/a': get } },
      ['GET /v1/a', 'GET /a'],
    ],
    [
      'variables of servers',
      {
        servers: [{ url: 'https://{host}.example/{base}', variables: { host: { default: 'a' }, base: { default: 'v3' } } }],
        paths: { '/a': get },
      },
      ['GET /v3/a'],
    ],
    [
      'servers of a path and of an operation',
      {
        servers: [{ url: '/root' }],
        paths: { '/a': { servers: [{ url: '/path' }], get: {}, put: { servers: [{ url: '/own' }] } }, '/b': get },
      },
      ['GET /path/a', 'PUT /own/a', 'GET /root/b'],
    ],
    [
      'a path item that stands elsewhere',
      { paths: { '/a': { $ref: '#/components/pathItems/a~1b' } }, components: { pathItems: { 'a/b': get } } },
      ['GET /a'],
    ],
    ['extensions are passed over', { paths: { 'x-note': 'text', '/a': get } }, ['GET /a']],
  ])('%s', (_title, own, expected) => {
    expect(read(own)).toEqual(expected);
  });

  test('carry their operationId', () => {
    expect(parseOpenApi(described({ paths: { '/a': get } }))).toEqual([
      { method: 'GET', path: '/a', id: 'read', shownPath: '/a' },
    ]);
  });

  test.each<[string, unknown, string]>([
    ['a text', 'openapi: 3', 'must be a mapping'],
    ['another document', { kind: 'AuthorizationPolicy' }, 'openapi: '],
    ['Swagger 2', { swagger: '2.0', paths: {} }, 'has to be converted'],
    ['another version', { openapi: '4.0.0' }, 'another version'],
    ['no paths', described({}), 'paths'],
    ['no operation', described({ paths: { '/a': {} } }), 'describes no operation'],
    ['a path without a slash', described({ paths: { a: get } }), 'paths.a: must begin with a slash'],
    ['a path item that is none', described({ paths: { '/a': 3 } }), 'paths./a: must be a mapping'],
    ['an operation that is none', described({ paths: { '/a': { get: 'x' } } }), 'paths./a.get: must be a mapping'],
    ['an ambiguous path', described({ paths: { '/a%2fb': get } }), 'path_encoded_slash'],
    ['servers that are no list', described({ servers: {}, paths: { '/a': get } }), 'servers: must be a list'],
    ['a server without URL', described({ servers: [{}], paths: { '/a': get } }), 'servers[0].url: must be a text'],
    ['no URL', described({ servers: [{ url: 'http://[' }], paths: { '/a': get } }), 'servers[0].url: is no URL'],
    ['a variable without default', described({ servers: [{ url: '/{v}' }], paths: { '/a': get } }), 'without a default'],
    ['a file elsewhere', described({ paths: { '/a': { $ref: 'other.yaml' } } }), 'must point into the same document'],
    ['a dead reference', described({ paths: { '/a': { $ref: '#/components/x' } } }), 'points to nothing'],
    ['a reference to what everything has', described({ paths: { '/a': { $ref: '#/toString' } } }), 'points to nothing'],
  ])('refuses %s', (_title, document, message) => {
    const error = thrownBy(() => parseOpenApi(document));
    expect(isIdentityError(error, 'invalid_argument')).toBe(true);
    expect(error).toHaveProperty('message', expect.stringContaining(message));
  });
});
