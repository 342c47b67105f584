import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSpiffeId, isReservedPath, parseSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const exampleOrg = parseTrustDomain('example.org');
const refused = { code: 'invalid_argument', field: 'spiffe_id' } as const;

describe('SPIFFE ID', () => {
  test('takes trust domain and path apart', () => {
    const id = parseSpiffeId('spiffe://example.org/ns/prod/sa/web');
    expect(id.trustDomain).toBe(exampleOrg);
    expect(id.path).toBe('/ns/prod/sa/web');
    expect(id.toString()).toBe('spiffe://example.org/ns/prod/sa/web');
    expect(JSON.stringify([id])).toBe('["spiffe://example.org/ns/prod/sa/web"]');
    expect(id.isMemberOf(exampleOrg)).toBe(true);
    expect(id.isMemberOf(parseTrustDomain('example.com'))).toBe(false);
  });

  test('of a trust domain has no path', () => {
    expect(parseSpiffeId('spiffe://example.org').path).toBe('');
  });

  test.each(['/a', '/A.b_c-d', '/...', '/.a', '/a.', '/..a', '/a..', '/9eebccd2-12bf-40a6-b262-65fe0487d453', '/_', '/-'])(
    '[SPIFFE-ID §2.2] path segments may have letters, digits, dots, dashes and underscores: %s',
    (path) => {
      expect(parseSpiffeId(`spiffe://example.org${path}`).path).toBe(path);
      expect(createSpiffeId(exampleOrg, path).path).toBe(path);
    },
  );

  test.each([
    ['[SPIFFE-ID §2] the scheme MUST be spiffe', ''],
    ['[SPIFFE-ID §2] the scheme MUST be spiffe', 'example.org/web'],
    ['[SPIFFE-ID §2] the scheme MUST be spiffe', 'https://example.org/web'],
    ['[SPIFFE-ID §2] the scheme MUST be spiffe', 'spiffe:/example.org/web'],
    ['[SPIFFE-ID §2] the scheme MUST be spiffe', 'spiffe:example.org/web'],
    ['[SPIFFE-ID §2] the scheme MUST be spiffe', ' spiffe://example.org/web'],
    ['[SPIFFE-ID §2] the scheme MUST be spiffe, written in lower case as in SPIRE', 'SPIFFE://example.org/web'],
    ['[SPIFFE-ID §2] the trust domain name MUST NOT be empty', 'spiffe://'],
    ['[SPIFFE-ID §2] the trust domain name MUST NOT be empty', 'spiffe:///web'],
    ['[SPIFFE-ID §2] a query MUST NOT be included', 'spiffe://example.org/web?a=b'],
    ['[SPIFFE-ID §2] a query MUST NOT be included', 'spiffe://example.org/web?'],
    ['[SPIFFE-ID §2] a query MUST NOT be included', 'spiffe://example.org?a=b'],
    ['[SPIFFE-ID §2] a fragment MUST NOT be included', 'spiffe://example.org/web#a'],
    ['[SPIFFE-ID §2] a fragment MUST NOT be included', 'spiffe://example.org/web#'],
    ['[SPIFFE-ID §2] a fragment MUST NOT be included', 'spiffe://example.org#a'],
    ['[SPIFFE-ID §2.1] userinfo MUST be empty', 'spiffe://user@example.org/web'],
    ['[SPIFFE-ID §2.1] userinfo MUST be empty', 'spiffe://user:pw@example.org/web'],
    ['[SPIFFE-ID §2.1] userinfo MUST be empty', 'spiffe://@example.org/web'],
    ['[SPIFFE-ID §2.1] the port MUST be empty', 'spiffe://example.org:8443/web'],
    ['[SPIFFE-ID §2.1] the port MUST be empty', 'spiffe://example.org:/web'],
    ['[SPIFFE-ID §2.1] the host MUST be lower case', 'spiffe://Example.org/web'],
    ['[SPIFFE-ID §2.1] the host MUST NOT have percent-encoding', 'spiffe://example%2eorg/web'],
    ['[SPIFFE-ID §2.1] the host MUST only have the allowed characters', 'spiffe://exämple.org/web'],
    ['[SPIFFE-ID §2.1] the host MUST only have the allowed characters', 'spiffe://[::1]/web'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have percent-encoding', 'spiffe://example.org/we%62'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have percent-encoding', 'spiffe://example.org/%2e%2e/web'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have percent-encoding', 'spiffe://example.org/web%00'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have empty segments', 'spiffe://example.org//web'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have empty segments', 'spiffe://example.org/a//b'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have empty segments', 'spiffe://example.org//'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have the segment "."', 'spiffe://example.org/.'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have the segment "."', 'spiffe://example.org/./web'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have the segment "."', 'spiffe://example.org/a/./b'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have the segment ".."', 'spiffe://example.org/..'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have the segment ".."', 'spiffe://example.org/../web'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have the segment ".."', 'spiffe://example.org/a/../b'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have the segment ".."', 'spiffe://example.org/a/..'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have a trailing slash', 'spiffe://example.org/'],
    ['[SPIFFE-ID §2.2] the path MUST NOT have a trailing slash', 'spiffe://example.org/web/'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/web*'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/web;v=1'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/a b'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/web\n'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/web\0'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/wéb'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/web\\x'],
    ['[SPIFFE-ID §2.2] segments MUST only have the allowed characters', 'spiffe://example.org/a:b@c'],
  ])('%s: %j is refused', (_rule, text) => {
    expect(thrownBy(() => parseSpiffeId(text))).toMatchObject(refused);
  });

  test('[SPIFFE-ID §2.3] IDs of up to 2048 bytes MUST be supported, longer ones SHOULD NOT be made', () => {
    const path = `/${'x'.repeat(2048 - 'spiffe://example.org/'.length)}`;
    expect(parseSpiffeId(`spiffe://example.org${path}`).toString()).toHaveLength(2048);
    expect(createSpiffeId(exampleOrg, path).toString()).toHaveLength(2048);
    expect(thrownBy(() => parseSpiffeId(`spiffe://example.org${path}x`))).toMatchObject(refused);
    expect(thrownBy(() => createSpiffeId(exampleOrg, `${path}x`)).code).toBe('invalid_argument');
  });

  test('[SPIFFE-ID §2.3] a trust domain of 256 bytes is refused in an ID, too', () => {
    expect(thrownBy(() => parseSpiffeId(`spiffe://${'x'.repeat(256)}/web`))).toMatchObject(refused);
  });

  test('[SPIFFE-ID §2.4] paths are case-sensitive', () => {
    const id = parseSpiffeId('spiffe://example.org/Web');
    expect(id.equals(parseSpiffeId('spiffe://example.org/web'))).toBe(false);
    expect(id.equals(parseSpiffeId('spiffe://example.org/Web'))).toBe(true);
    expect(id.equals(id)).toBe(true);
  });

  test('is made from segments, none of which can smuggle in another', () => {
    expect(createSpiffeId(exampleOrg, ['ns', 'prod']).toString()).toBe('spiffe://example.org/ns/prod');
    expect(createSpiffeId(exampleOrg, []).path).toBe('');
    for (const segment of ['a/b', '', '.', '..', 'a%2fb', '/']) {
      expect(thrownBy(() => createSpiffeId(exampleOrg, ['ns', segment]))).toMatchObject({
        code: 'invalid_argument',
        field: 'path',
      });
    }
  });

  test('is refused without a leading slash', () => {
    expect(thrownBy(() => createSpiffeId(exampleOrg, 'web', 'id.path'))).toMatchObject({
      code: 'invalid_argument',
      field: 'id.path',
    });
  });

  test.each([
    ['/spire', true],
    ['/spire/server', true],
    ['/spire/agent/join_token/x', true],
    ['/spirelike', false],
    ['/web/spire', false],
    ['', false],
  ])('knows what is reserved: %s is %s', (path, isReserved) => {
    expect(isReservedPath(createSpiffeId(exampleOrg, path))).toBe(isReserved);
  });

  test('never repeats what it was given in an error', () => {
    expect(thrownBy(() => parseSpiffeId('spiffe://example.org/s3cret?')).message).not.toContain('s3cret');
  });

  const segment = fc.stringMatching(/^[A-Za-z0-9._-]{1,20}$/).filter((text) => text !== '.' && text !== '..');
  const name = fc.stringMatching(/^[a-z0-9._-]{1,40}$/);

  test('property: what is made reads back as the same', () => {
    fc.assert(
      fc.property(name, fc.array(segment, { maxLength: 8 }), (trustDomain, segments) => {
        const id = createSpiffeId(parseTrustDomain(trustDomain), segments);
        const again = parseSpiffeId(id.toString());
        expect(again.equals(id)).toBe(true);
        expect(again.path).toBe(segments.map((each) => `/${each}`).join(''));
        expect(again.trustDomain.name).toBe(trustDomain);
      }),
    );
  });

  test('property: whatever is accepted follows the grammar', () => {
    const text = fc.array(fc.constantFrom('spiffe://', 'a', '/', '.', '..', '%', '?', '#', ':', '@', 'é', 'A', '\0'), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(text, (parts) => {
        const candidate = `spiffe://${parts.join('')}`;
        const isValid =
          /^spiffe:\/\/[a-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/.test(candidate) &&
          !candidate
            .slice(9)
            .split('/')
            .slice(1)
            .some((each) => each === '.' || each === '..');
        expect(codeOf(() => parseSpiffeId(candidate))).toBe(isValid ? undefined : 'invalid_argument');
      }),
      { numRuns: 2000 },
    );
  });
});
