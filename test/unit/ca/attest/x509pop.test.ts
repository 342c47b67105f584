import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { NodeAttestor } from '../../../../ca/attest/node-attestor.ts';
import { createX509PopAttestor } from '../../../../ca/attest/x509pop.ts';
import { isIdentityError } from '../../../../core/errors.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { issueCertificate, TestCa, type CertificateOptions, type Issued } from '../../../support/test-ca.ts';
import { createTestKey, type TestKeyKind } from '../../../support/test-keys.ts';
import { base64, json, payloadOf, respond } from '../../../support/x509pop-node.ts';

const clock = new ManualClock();
const nowMs = clock.nowMs();
const ca = TestCa.create({ nowMs });
const LEAF: CertificateOptions = { subject: { commonName: 'node-1' }, notBeforeMs: nowMs - 1000, notAfterMs: nowMs + 3_600_000 };

function attestor(): NodeAttestor {
  const trustDomain = parseTrustDomain('example.org');
  return createX509PopAttestor({ trustDomain, clock, roots: [ca.root.certificate], maxIntermediates: 4 });
}

async function attest(payload: Uint8Array, answer: (challenge: Uint8Array) => Uint8Array) {
  const attestation = attestor().attest(payload);
  let step = await attestation.next();
  while (step.done !== true) step = await attestation.next(answer(step.value));
  return step.value;
}

async function codeOf(payload: Uint8Array, answer: (challenge: Uint8Array) => Uint8Array): Promise<string> {
  try {
    await attest(payload, answer);
    return 'attested';
  } catch (error) {
    if (isIdentityError(error)) return error.code;
    throw error;
  }
}

const issueNode = (options: CertificateOptions = {}, issuer: Issued = ca.root): Issued =>
  issueCertificate(issuer, { ...LEAF, ...options });

describe('x509pop', () => {
  test.each<TestKeyKind>(['P-256', 'P-384', 'P-521', 'RSA-2048'])('a node proves itself with a %s key', async (kind) => {
    const node = issueNode({ key: createTestKey(kind) });
    const attested = await attest(payloadOf(node.der), (challenge) => respond(challenge, node.key));
    const digest = createHash('sha1').update(node.der).digest('hex');
    expect(attested.agentId.toString()).toBe(`spiffe://example.org/spire/agent/x509pop/${digest}`);
    expect(attested.canReattest).toBe(true);
  });

  test('its selectors name the subject, the issuers, the serial number and what the certificate carries', async () => {
    const intermediate = ca.issueIntermediate();
    const uris = ['x509pop://example.org/env/prod/eu', 'x509pop://example.org/alone', 'x509pop://other.example/env/dev'];
    const node = issueNode({ uris, serial: Uint8Array.of(0x0a, 0xbc) }, intermediate);
    const { selectors } = await attest(payloadOf(node.der, intermediate.der), (challenge) => respond(challenge, node.key));
    const fingerprint = (der: Uint8Array): string => `ca:fingerprint:${createHash('sha1').update(der).digest('hex')}`;
    expect(selectors.map(({ value }) => value).toSorted()).toEqual(
      [
        'subject:cn:node-1',
        'serialnumber:0abc',
        'san:env:prod/eu',
        fingerprint(intermediate.der),
        fingerprint(ca.root.der),
      ].toSorted(),
    );
    expect(new Set(selectors.map(({ type }) => type))).toEqual(new Set(['x509pop']));
  });

  test('a certificate whose key the node does not have proves nothing', async () => {
    const node = issueNode();
    expect(await codeOf(payloadOf(node.der), (challenge) => respond(challenge, createTestKey()))).toBe('permission_denied');
  });

  const untrusted: readonly [string, () => readonly Uint8Array[]][] = [
    ['another root', () => [issueNode({}, TestCa.create({ nowMs }).root).der]],
    ['no root', () => [issueNode({}, ca.issueIntermediate()).der]],
    ['an expired certificate', () => [issueNode({ notAfterMs: nowMs - 1 }).der]],
    ['a certificate of the future', () => [issueNode({ notBeforeMs: nowMs + 60_000 }).der]],
    [
      'an expired intermediate',
      () => {
        const intermediate = ca.issueIntermediate({ notAfterMs: nowMs - 1 });
        return [issueNode({}, intermediate).der, intermediate.der];
      },
    ],
    [
      'an issuer that is no CA',
      () => {
        const leaf = issueNode();
        return [issueNode({}, leaf).der, leaf.der];
      },
    ],
    ['a forged signature', () => [issueNode({ signingKey: createTestKey() }).der]],
    [
      'a path that is too long',
      () => {
        const upper = ca.issueIntermediate({ pathLength: 0 });
        const lower = ca.issueIntermediate({}, upper);
        return [issueNode({}, lower).der, lower.der, upper.der];
      },
    ],
  ];
  test.each(untrusted)('%s is not trusted', async (_name, chain) => {
    expect(await codeOf(payloadOf(...chain()), () => new Uint8Array())).toBe('permission_denied');
  });

  test('a certificate that is not for signatures gets no challenge', async () => {
    const node = issueNode({ keyUsage: ['keyEncipherment'] });
    expect(await codeOf(payloadOf(node.der), (challenge) => respond(challenge, node.key))).toBe('internal');
  });

  const garbage: readonly [string, Uint8Array][] = [
    ['no JSON', Buffer.from('\0\xff')],
    ['a list', json([])],
    ['no certificate', json({})],
    ['an empty chain', json({ certificates: [] })],
    ['text for a list', json({ certificates: 'x' })],
    ['a number for a certificate', json({ certificates: [7] })],
    ['no base64', json({ certificates: ['***'] })],
    ['no DER', payloadOf(randomBytes(64))],
    ['too many intermediates', payloadOf(...Array.from({ length: 6 }, () => ca.root.der))],
    ['a cut certificate', payloadOf(ca.root.der.subarray(0, -1))],
  ];
  test.each(garbage)('%s is refused', async (_name, payload) => {
    expect(await codeOf(payload, () => new Uint8Array())).toBe('invalid_argument');
  });

  const answers: readonly [string, string, unknown][] = [
    ['nothing', 'invalid_argument', undefined],
    ['null', 'invalid_argument', null],
    ['an empty object', 'permission_denied', {}],
    ['an answer of another kind', 'permission_denied', { rsa_signature: { nonce: base64(randomBytes(32)), signature: 'AAAA' } }],
    ['a short nonce', 'permission_denied', { ecdsa_signature: { nonce: 'AAAA', r: 'AAAA', s: 'AAAA' } }],
    ['zeros', 'permission_denied', { ecdsa_signature: { nonce: base64(randomBytes(32)), r: '', s: '' } }],
    [
      'numbers that are too long',
      'permission_denied',
      { ecdsa_signature: { nonce: base64(randomBytes(32)), r: base64(randomBytes(33)), s: base64(randomBytes(33)) } },
    ],
    ['no base64', 'invalid_argument', { ecdsa_signature: { nonce: '?', r: '', s: '' } }],
  ];
  test.each(answers)('%s as the answer is refused', async (_name, code, answer) => {
    const node = issueNode();
    expect(await codeOf(payloadOf(node.der), () => (answer === undefined ? new Uint8Array() : json(answer)))).toBe(code);
  });
});
