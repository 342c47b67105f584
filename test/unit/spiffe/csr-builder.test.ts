import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { describe, expect, test } from 'vitest';

import { buildCsr } from '../../../spiffe/csr-builder.ts';
import { createKeyPair } from '../../../spiffe/key-pair.ts';
import { parseCsr, spiffeIdOfCsr, verifyCsr } from '../../../spiffe/csr.ts';
import { parseSpiffeId } from '../../../spiffe/spiffe-id.ts';

describe('key pairs', () => {
  test('are P-256 keys that belong together, also where the scalar begins with zeros', () => {
    // One in 256 scalars begins with a zero byte.
    for (let round = 0; round < 600; round++) {
      const { spki, privateKeyPkcs8Der } = createKeyPair();
      const key = createPrivateKey({ key: Buffer.from(privateKeyPkcs8Der), format: 'der', type: 'pkcs8' });
      expect(Buffer.from(spki).equals(createPublicKey(key).export({ format: 'der', type: 'spki' }))).toBe(true);
    }
  });

  test('export as node:crypto exports them', () => {
    const { privateKeyPkcs8Der } = createKeyPair();
    const key = createPrivateKey({ key: Buffer.from(privateKeyPkcs8Der), format: 'der', type: 'pkcs8' });
    expect(Buffer.from(privateKeyPkcs8Der).equals(key.export({ format: 'der', type: 'pkcs8' }))).toBe(true);
    const data = Buffer.from('x');
    expect(verify('sha256', data, createPublicKey(key), sign('sha256', data, key))).toBe(true);
  });
});

describe('CSRs', () => {
  test('carry the SPIFFE ID and are signed with their key', () => {
    const pair = createKeyPair();
    const csr = parseCsr(buildCsr(pair, parseSpiffeId('spiffe://example.org/web')));
    verifyCsr(csr);
    expect(spiffeIdOfCsr(csr).toString()).toBe('spiffe://example.org/web');
    expect(Buffer.from(csr.spki).equals(pair.spki)).toBe(true);
  });

  test('may leave the ID to the CA', () => {
    const csr = parseCsr(buildCsr(createKeyPair()));
    verifyCsr(csr);
    expect(csr.uriSans).toEqual([]);
  });
});
