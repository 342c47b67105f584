import { describe, expect, it } from 'vitest';

import { guardedLookup, isForbiddenAddress, refuseForbiddenHost } from '../../../runtime/address-guard.ts';
import { isIdentityError } from '../../../core/errors.ts';

const FORBIDDEN = [
  '127.0.0.1',
  '127.8.8.8',
  '0.0.0.0',
  '10.1.2.3',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.1.1',
  '169.254.169.254',
  '100.64.0.1',
  '198.18.0.1',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::ffff:10.0.0.1',
  '::ffff:169.254.169.254',
  '::127.0.0.1',
  '64:ff9b::a00:1',
  '2002:a00:1::',
  'fe80::1',
  'fd00::1',
  'fd00:ec2::254',
  'ff02::1',
  '2001:db8::1',
  'not an address',
];
const ALLOWED = [
  '8.8.8.8',
  '172.32.0.1',
  '192.167.255.255',
  '100.63.255.255',
  '2606:4700::1111',
  '2a00:1450:4001::1',
  '::ffff:8.8.8.8',
];

describe('the address guard of bundle endpoints', () => {
  it.each(FORBIDDEN)('forbids %s', (address) => expect(isForbiddenAddress(address)).toBe(true));
  it.each(ALLOWED)('allows %s', (address) => expect(isForbiddenAddress(address)).toBe(false));

  it('refuses a URL that names such an address, however it is written', () => {
    for (const url of [
      'https://127.0.0.1/',
      'https://2130706433/',
      'https://0x7f.1/',
      'https://[::1]/',
      'https://[::ffff:a00:1]/',
    ]) {
      expect(() => refuseForbiddenHost(new URL(url), [])).toThrow(expect.objectContaining({ code: 'permission_denied' }));
    }
  });

  it('refuses a name that resolves to such an address, and lets through one that is allowed by name', async () => {
    expect(isIdentityError(await lookup('localhost', []), 'permission_denied')).toBe(true);
    expect(await lookup('localhost', ['LOCALHOST'])).toMatch(/^(127\.0\.0\.1|::1)$/);
  });
});

function lookup(name: string, allowed: readonly string[]): Promise<unknown> {
  return new Promise((resolve) => guardedLookup(allowed)(name, {}, (error, address) => resolve(error ?? address)));
}
