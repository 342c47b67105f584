import { describe, expect, test } from 'vitest';
import { normalizeHeaders } from '../../../../policy/normalize/headers.ts';
import { normalizePath } from '../../../../policy/normalize/path.ts';
import { normalizeRequest } from '../../../../policy/normalize/request.ts';

describe('headers', () => {
  test('those in several lines are joined, and kept one by one', () => {
    const { headers, repeated } = normalizeHeaders([
      ['X-Tenant', 'a'],
      ['x-tenant', ' b'],
      ['X-TENANT', ''],
      ['accept', '*/*'],
    ]);
    expect([...headers]).toEqual([
      ['x-tenant', 'a, b, '],
      ['accept', '*/*'],
    ]);
    expect([...(repeated ?? [])]).toEqual([['x-tenant', ['a', 'b', '']]]);
  });

  test('where none came twice, nothing is kept beside them', () => {
    expect(normalizeHeaders([['a', '1']])).toEqual({ headers: new Map([['a', '1']]) });
  });

  test('the lines of a cookie are one text', () => {
    const lines = normalizeHeaders([
      ['cookie', 'a=1'],
      ['cookie', 'b=2'],
    ]);
    expect(lines).toEqual({ headers: new Map([['cookie', 'a=1; b=2']]) });
  });

  test.each([
    [' \t acme\t ', 'acme'],
    ['\u00A0acme\u00A0', '\u00A0acme\u00A0'],
    ['\uFEFFacme\u2003', '\uFEFFacme\u2003'],
    ['\u0085acme', '\u0085acme'],
    [' \t', ''],
  ])('blanks and tabs around a value are no part of it, other characters are: %j', (value, trimmed) => {
    expect(normalizeHeaders([['x-tenant', value]]).headers.get('x-tenant')).toBe(trimmed);
  });
});

describe('paths', () => {
  test.each([
    ['/admin/../public', 'path_dot_segment'],
    ['/admin/%2e%2E/public', 'path_dot_segment'],
    ['/./a', 'path_dot_segment'],
    ['/a/.', 'path_dot_segment'],
    ['/a//../b', 'path_dot_segment'],
    ['//public/admin', 'path_leading_slashes'],
    ['//', 'path_leading_slashes'],
    ['///a?q', 'path_leading_slashes'],
    ['/a/../../b', 'path_above_root'],
    ['/..', 'path_above_root'],
    ['/.../a', 'path_trailing_dot'],
  ])('%s is refused', (target, refused) => {
    expect(normalizeRequest({ method: 'GET', target, headers: [] })).toEqual({ refused });
  });

  test.each([
    ['/a//b/%7Ec/?q=/../1', '/a/b/~c'],
    ['/.well-known/a..b', '/.well-known/a..b'],
  ])('%s becomes %s', (target, path) => {
    expect(normalizePath(target)).toBe(path);
  });
});
