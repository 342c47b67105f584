import { describe, expect, test } from 'vitest';
import { checkDnsName, checkWildcardOverlap } from '../../../spiffe/dns-name.ts';
import { codeOf } from '../../support/thrown-by.ts';

describe('DNS names of SVIDs', () => {
  test.each([
    'a',
    'db-1.example.org',
    '1.2.3.4',
    'xn--bcher-kva.example',
    'A.example',
    'a_b.example',
    '*.example.org',
    `${'a'.repeat(63)}.b`,
  ])('%s is one', (name) => {
    expect(codeOf(() => checkDnsName(name))).toBeUndefined();
  });

  test.each([
    '',
    ' ',
    'a.',
    '.a',
    'a..b',
    '-a',
    'a-',
    'ab--c',
    '*',
    'a.*.b',
    '*.*.b',
    '**.b',
    'b*.c',
    'bücher.example',
    'xn--a',
    'a/b',
    'a b',
    'a\0b',
    'a:80',
    `${'a'.repeat(64)}.b`,
    `${'a.'.repeat(127)}a`,
  ])('%j is none', (name) => {
    expect(codeOf(() => checkDnsName(name))).toBe('invalid_argument');
  });

  test('a wildcard may not cover another name of the list', () => {
    expect(codeOf(() => checkWildcardOverlap(['*.example.org', 'a.example.org']))).toBe('invalid_argument');
    expect(codeOf(() => checkWildcardOverlap(['*.example.org', 'a.b.example.org', 'example.org']))).toBeUndefined();
  });
});
