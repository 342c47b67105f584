import { constants, verify } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { createNodeAttestor } from '../../../../agent/attest/node-attestors.ts';
import { answerChallenge } from '../../../../agent/attest/x509pop.ts';
import { TestCa } from '../../../support/test-ca.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { codeOf } from '../../../support/thrown-by.ts';

const nonce = Buffer.alloc(32, 7);
const challenge = (kind: 'rsa_signature' | 'ecdsa_signature', bytes = nonce): Uint8Array =>
  Buffer.from(JSON.stringify({ rsa_signature: null, ecdsa_signature: null, [kind]: { nonce: bytes.toString('base64') } }));
const parse = (bytes: Uint8Array): Record<string, Record<string, string>> => JSON.parse(Buffer.from(bytes).toString('utf8'));

describe('answers to a challenge', () => {
  test.each(['P-256', 'P-384'] as const)('sign both nonces with ECDSA %s; r and s are numbers of their own', (kind) => {
    const key = createTestKey(kind);
    const { ecdsa_signature: answer = {} } = parse(answerChallenge(key.privateKey, challenge('ecdsa_signature')));
    const [ours, r, s] = ['nonce', 'r', 's'].map((name) => Buffer.from(answer[name] ?? '', 'base64'));
    expect(ours).toHaveLength(32);
    const signed = Buffer.concat([nonce, ours ?? nonce]);
    const signature = Buffer.concat([r ?? nonce, s ?? nonce]);
    expect(verify('sha256', signed, { key: key.publicKey, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true);
  });

  test('sign both nonces with RSA-PSS', () => {
    const key = createTestKey('RSA-2048');
    const { rsa_signature: answer = {} } = parse(answerChallenge(key.privateKey, challenge('rsa_signature')));
    const signed = Buffer.concat([nonce, Buffer.from(answer['nonce'] ?? '', 'base64')]);
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
    const signature = Buffer.from(answer['signature'] ?? '', 'base64');
    expect(verify('sha256', signed, { key: key.publicKey, ...padding }, signature)).toBe(true);
  });

  test('are refused for another kind of key and for a nonce of another length', () => {
    const { privateKey } = createTestKey();
    expect(codeOf(() => answerChallenge(privateKey, challenge('rsa_signature')))).toBe('failed_precondition');
    const short = challenge('ecdsa_signature', Buffer.alloc(8));
    expect(codeOf(() => answerChallenge(privateKey, short))).toBe('invalid_argument');
  });
});

describe('the payload', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'x509pop-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('is the chain, leaf first, with the intermediates of their own file', async () => {
    const ca = TestCa.create();
    const intermediate = ca.issueIntermediate();
    const { chain, chainPem, keyPem } = ca.issueX509Svid('/node', {}, [intermediate]);
    const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    await writeFile(certFile, chainPem);
    await writeFile(keyFile, keyPem);
    const attestor = createNodeAttestor({ kind: 'x509pop', value: { certFile, keyFile, intermediatesFile: undefined } });
    expect(attestor.type).toBe('x509pop');
    const { payload } = await attestor.prepare();
    const certificates = chain.map((der) => Buffer.from(der).toString('base64'));
    expect(JSON.parse(Buffer.from(payload).toString('utf8'))).toEqual({ certificates });
  });

  test('names a missing file, and never shows a key that cannot be read', async () => {
    const [certFile, keyFile] = [join(folder, 'other.pem'), join(folder, 'broken.pem')];
    await writeFile(keyFile, 'secret that is no key');
    const attestor = createNodeAttestor({ kind: 'x509pop', value: { certFile, keyFile, intermediatesFile: undefined } });
    await expect(attestor.prepare()).rejects.toMatchObject({ code: 'failed_precondition' });
    await writeFile(certFile, TestCa.create().rootPem);
    const failure = await attestor.prepare().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'failed_precondition' });
    expect(String(failure)).not.toContain('secret');
  });
});
