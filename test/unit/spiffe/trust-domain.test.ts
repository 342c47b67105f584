import { describe, expect, test } from 'vitest';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { thrownBy } from '../../support/thrown-by.ts';

describe('trust domain', () => {
  test('reads a name and an ID alike', () => {
    const trustDomain = parseTrustDomain('example.org');
    expect(parseTrustDomain('spiffe://example.org').equals(trustDomain)).toBe(true);
    expect(trustDomain.name).toBe('example.org');
    expect(trustDomain.toString()).toBe('example.org');
    expect(trustDomain.idString).toBe('spiffe://example.org');
    expect(JSON.stringify({ trustDomain })).toBe('{"trustDomain":"example.org"}');
  });

  test('shares one instance, so that 100,000 IDs hold one', () => {
    expect(parseTrustDomain('shared.example.org')).toBe(parseTrustDomain('spiffe://shared.example.org'));
  });

  test('stays equal by name after hostile callers have named 10,000 others', () => {
    const before = parseTrustDomain('kept.example.org');
    for (let index = 0; index < 10_000; index++) parseTrustDomain(`td-${index}.example.org`);
    expect(parseTrustDomain('kept.example.org').equals(before)).toBe(true);
    expect(parseTrustDomain('other.example.org').equals(before)).toBe(false);
  });

  test.each(['a', '1.2.3.4', 'under_score', 'dash-', '-', '.', 'a..b', 'xn--bcher-kva.example', 'x'.repeat(255)])(
    '[SPIFFE-ID §2.1] the host may have lower-case letters, digits, dots, dashes and underscores: %s',
    (name) => {
      expect(parseTrustDomain(name).name).toBe(name);
    },
  );

  test('[SPIFFE-ID §2.1] implementations MUST NOT process names that are IP addresses differently', () => {
    expect(parseTrustDomain('127.0.0.1').idString).toBe('spiffe://127.0.0.1');
    expect(parseTrustDomain('999.999.999.999').idString).toBe('spiffe://999.999.999.999');
  });

  test.each([
    ['the host MUST NOT be empty', ''],
    ['the host MUST NOT be empty', 'spiffe://'],
    ['userinfo MUST be empty', 'user@example.org'],
    ['userinfo MUST be empty', 'user:secret@example.org'],
    ['the port MUST be empty', 'example.org:443'],
    ['the port MUST be empty', 'example.org:'],
    ['the host MUST be lower case', 'Example.org'],
    ['the host MUST be lower case', 'EXAMPLE.ORG'],
    ['the host MUST NOT have percent-encoding', 'example%2eorg'],
    ['the host MUST NOT have percent-encoding', '%'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', 'exämple.org'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', 'еxample.org'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', 'example.org\n'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', 'example.org\0'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', ' example.org'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', '[::1]'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', 'example.org/'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', 'spiffe://example.org/path'],
    ['the host MUST only have letters, digits, dots, dashes, underscores', 'https://example.org'],
  ])('[SPIFFE-ID §2.1] %s: %j is refused', (_rule, text) => {
    expect(thrownBy(() => parseTrustDomain(text, 'entry.trust_domain'))).toMatchObject({
      code: 'invalid_argument',
      field: 'entry.trust_domain',
    });
  });

  test('[SPIFFE-ID §2.3] the maximum length of a trust domain name is 255 bytes', () => {
    expect(parseTrustDomain('x'.repeat(255)).name).toHaveLength(255);
    expect(thrownBy(() => parseTrustDomain('x'.repeat(256))).code).toBe('invalid_argument');
  });
});
