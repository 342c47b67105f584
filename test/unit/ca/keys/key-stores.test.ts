import { generateKeyPairSync, randomBytes, verify } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskKeyStore } from '../../../../ca/keys/disk-key-store.ts';
import { flattenEcdsaSignature } from '../../../../ca/keys/ecdsa-signature.ts';
import { KEY_ALGORITHMS, type KeyStore } from '../../../../ca/keys/key-store.ts';
import { MemoryKeyStore } from '../../../../ca/keys/memory-key-store.ts';
import { algorithmOf, hashOf } from '../../../../ca/keys/software-key.ts';
import { webCryptoOf } from '../../../../ca/keys/web-crypto.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'keys-'));
});
afterEach(() => {
  chmodSync(dir, 0o700);
  rmSync(dir, { recursive: true, force: true });
});

const stores: readonly (readonly [string, () => Promise<KeyStore>])[] = [
  ['memory', () => Promise.resolve(new MemoryKeyStore())],
  ['disk', () => DiskKeyStore.open(join(dir, 'keys'))],
];

describe.each(stores)('%s key store', (_name, open) => {
  it.each(KEY_ALGORITHMS)('signs with %s so that the public key verifies it', async (algorithm) => {
    const store = await open();
    const key = await store.create('x509-1', algorithm);
    const data = randomBytes(100);
    expect(verify(hashOf(algorithm), data, key.publicKey, await key.sign(data, 'der'))).toBe(true);
    const flat = await key.sign(data, 'ieee-p1363');
    expect(verify(hashOf(algorithm), data, { key: key.publicKey, dsaEncoding: 'ieee-p1363' }, flat)).toBe(true);
    const loaded = await store.load('x509-1');
    expect(loaded?.algorithm).toBe(algorithm);
    expect(Buffer.from(loaded?.publicKeySpki ?? []).equals(key.publicKeySpki)).toBe(true);
  });

  it('keeps keys apart, lists and deletes them', async () => {
    const store = await open();
    const [one] = await Promise.all([store.create('one', 'ec-p256'), store.create('two', 'ec-p256')]);
    expect([...(await store.list())].sort()).toEqual(['one', 'two']);
    await store.delete('two');
    await store.delete('two');
    expect(await store.load('two')).toBeUndefined();
    expect(Buffer.from((await store.load('one'))?.publicKeySpki ?? []).equals(one.publicKeySpki)).toBe(true);
  });

  it('never replaces a key', async () => {
    const store = await open();
    await store.create('one', 'ec-p256');
    await expect(store.create('one', 'ec-p256')).rejects.toMatchObject({ code: 'already_exists' });
  });
});

describe('disk key store', () => {
  const keys = (): string => join(dir, 'keys');

  it('writes 0600 in a folder of 0700, and nothing else', async () => {
    const store = await DiskKeyStore.open(keys());
    await store.create('one', 'ec-p256');
    expect(statSync(keys()).mode & 0o777).toBe(0o700);
    expect(readdirSync(keys())).toEqual(['one.pem']);
    expect(statSync(join(keys(), 'one.pem')).mode & 0o777).toBe(0o600);
  });

  it('removes what a crash left half written', async () => {
    mkdirSync(keys(), { mode: 0o700 });
    writeFileSync(join(keys(), 'one.pem.0f8fad5b-d9cb-469f-a165-70867728950e.tmp'), 'half');
    const store = await DiskKeyStore.open(keys());
    expect(readdirSync(keys())).toEqual([]);
    expect(await store.load('one')).toBeUndefined();
  });

  it.each([0o640, 0o604, 0o666])('refuses a key file of mode %o and says what to do', async (mode) => {
    const store = await DiskKeyStore.open(keys());
    await store.create('one', 'ec-p256');
    chmodSync(join(keys(), 'one.pem'), mode);
    await expect(store.load('one')).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('chmod 600'),
    });
  });

  it('refuses a folder that others may enter', async () => {
    mkdirSync(keys(), { mode: 0o755 });
    await expect(DiskKeyStore.open(keys())).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('chmod 700'),
    });
  });

  it('refuses a damaged key without quoting it', async () => {
    const store = await DiskKeyStore.open(keys());
    writeFileSync(join(keys(), 'one.pem'), '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n', { mode: 0o600 });
    const error: unknown = await store.load('one').catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'failed_precondition' });
    expect(error).not.toHaveProperty('cause');
    expect(String(error)).not.toContain('c2VjcmV0');
  });

  it.each(['../x', '', '.hidden', 'a/b', 'x'.repeat(129)])('refuses the key ID %j', async (id) => {
    const store = await DiskKeyStore.open(keys());
    await expect(store.create(id, 'ec-p256')).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('answers unavailable when the folder is gone', async () => {
    const store = await DiskKeyStore.open(keys());
    rmSync(keys(), { recursive: true });
    await expect(store.create('one', 'ec-p256')).rejects.toMatchObject({ code: 'unavailable' });
    await expect(store.delete('one')).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('answers unavailable when the folder cannot be made', async () => {
    writeFileSync(join(dir, 'file'), '');
    await expect(DiskKeyStore.open(join(dir, 'file', 'keys'))).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('cannot read a key that is a folder', async () => {
    const store = await DiskKeyStore.open(keys());
    mkdirSync(join(keys(), 'one.pem'), { mode: 0o700 });
    await expect(store.load('one')).rejects.toMatchObject({ code: 'failed_precondition' });
  });
});

describe('the kind of a private key', () => {
  it.each([
    generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey,
    generateKeyPairSync('ed25519').privateKey,
    generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey,
  ])('is refused when no authority may have it', (key) => {
    expect(() => algorithmOf(key)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

describe('a key of the port as Web Crypto', () => {
  it.each(KEY_ALGORITHMS)('signs with %s', async (algorithm) => {
    const key = await new MemoryKeyStore().create('one', algorithm);
    const { crypto, signingKey } = await webCryptoOf(key);
    const data = randomBytes(50);
    const signature = await crypto.subtle.sign(signingKey.algorithm, signingKey, data);
    const options = { key: key.publicKey, dsaEncoding: 'ieee-p1363' } as const;
    expect(verify(hashOf(algorithm), data, options, new Uint8Array(signature))).toBe(true);
  });

  it('leaves other keys to the provider', async () => {
    const { crypto } = await webCryptoOf(await new MemoryKeyStore().create('one', 'ec-p256'));
    const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify']);
    const algorithm = { name: 'ECDSA', hash: 'SHA-256' };
    const signature = await crypto.subtle.sign(algorithm, pair.privateKey, new Uint8Array(3).buffer);
    expect(await crypto.subtle.verify(algorithm, pair.publicKey, signature, new Uint8Array(3))).toBe(true);
  });
});

describe('an ECDSA signature side by side', () => {
  it.each([
    ['ec-p256', 64],
    ['ec-p384', 96],
  ] as const)('of %s has its size and is valid, also where a number is short', async (algorithm, size) => {
    const key = await new MemoryKeyStore().create('one', algorithm);
    // One in 256 numbers has a zero byte in front, which DER leaves out.
    for (let count = 0; count < 1500; count++) {
      const data = Buffer.from(`${count}`);
      const flat = await key.sign(data, 'ieee-p1363');
      expect(flat).toHaveLength(size);
      expect(verify(hashOf(algorithm), data, { key: key.publicKey, dsaEncoding: 'ieee-p1363' }, flat)).toBe(true);
    }
  });

  it('is made of DER only', () => {
    expect(() => flattenEcdsaSignature(Uint8Array.of(0x30, 2, 5, 0), 32)).toThrow('not DER');
  });
});
