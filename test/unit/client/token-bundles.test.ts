import { describe, expect, test } from 'vitest';
import { formatBundleDocument, parseTokenKeySet } from '../../../spiffe/bundle.ts';
import { TestCa } from '../../support/test-ca.ts';
import { codeOf } from '../../support/thrown-by.ts';

const ca = TestCa.create();

describe('the JWK sets of the Workload API', () => {
  test.each(['jwt', 'wit'] as const)('[Workload API §6.2.2, §7.2.2] keys of a %s bundle need no use', (type) => {
    const document = formatBundleDocument(ca.bundle(), { include: [type], standardJwks: true });
    expect(document).not.toContain('"use"');
    const bundle = parseTokenKeySet(document, ca.trustDomain, type);
    const of = (each: typeof bundle): string[] => [...(type === 'jwt' ? each.jwtAuthorities : each.witAuthorities).keys()];
    expect(of(bundle)).toEqual(of(ca.bundle()));
    expect(of(bundle)).toHaveLength(1);
  });

  test('a document without keys is refused', () => {
    expect(codeOf(() => parseTokenKeySet('{}', ca.trustDomain, 'jwt'))).toBe('invalid_argument');
  });
});
