import { symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AuditLog } from '../../../../ca/audit/audit-log.ts';
import { Issuer } from '../../../../ca/issue/issuer.ts';
import { failureOf, signElsewhere } from '../../../../ca/issue/sign-order.ts';
import { signRecorded } from '../../../../ca/issue/sign-recorded.ts';
import { prepareJwt, signToken } from '../../../../ca/issue/token.ts';
import { profileOf } from '../../../../ca/issue/x509-issuer.ts';
import { prepareX509, type IssuerProfile, type X509Order } from '../../../../ca/issue/x509-order.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';
import { codeOf, thrownBy } from '../../../support/thrown-by.ts';
import { id, IssuingSide, log, trustDomain, TTL } from './issuer-fixture.ts';

const caller = 'spiffe://example.org/spire/agent/x';

describe('when the audit log cannot be written', () => {
  it('nothing is issued, until it can be again', async () => {
    await using side = await IssuingSide.open();
    const file = join(side.replica.dir, 'full.jsonl');
    symlinkSync('/dev/full', file);
    await using audit = await AuditLog.open({ file, clock: side.replica.clock, log });
    const { authorities, replica } = side;
    await using issuer = new Issuer({ trustDomain, authorities, audit, clock: replica.clock, ttl: TTL, workers: 2 });
    const request = { csr: createTestCsr(), spiffeId: id('/web'), caller };
    const everything = [
      () => issuer.issueX509Svid(request),
      () => issuer.issueX509SvidBatch(Array.from({ length: 20 }, () => request)),
      () => issuer.mintX509Svid({ csr: createTestCsr(), caller }),
      () => issuer.issueServerSvid(),
      () => issuer.issueAgentSvid({ ...request, spiffeId: id('/spire/agent/x') }),
      () => issuer.issueDownstreamCa({ csr: createTestCsr(), caller }),
      () => issuer.issueJwtSvid({ spiffeId: id('/web'), audience: ['a'], caller }),
      () => issuer.issueWitSvid({ spiffeId: id('/web'), publicKeySpki: createTestKey().spki, signingAlgorithm: 'ES256', caller }),
    ];
    for (const issue of everything) await expect(issue()).rejects.toMatchObject({ code: 'unavailable' });
    expect(audit.fault()).toContain('ENOSPC');
    unlinkSync(file);
    for (const issue of everything) await issue();
    expect(audit.fault()).toBeUndefined();
  });

  it('and signing fails, too, neither failure goes unhandled', async () => {
    const audit = { append: () => Promise.reject(new IdentityError('unavailable', 'full')) };
    const failing = (): never => {
      throw new IdentityError('internal', 'no key');
    };
    const record = {
      timeMs: 0,
      kind: 'x509-svid',
      spiffeId: '',
      caller: '',
      entryId: '',
      serial: '',
      digest: '',
      authorityId: '',
      expiresAtMs: 0,
    } as const;
    await expect(signRecorded(audit, record, failing)).rejects.toMatchObject({ code: 'internal' });
    await expect(signRecorded(audit, record, () => 1)).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('when no authority is in force', () => {
  it('nothing is issued', async () => {
    await using side = await IssuingSide.open();
    side.replica.clock.step(25 * 3_600_000);
    const request = { csr: createTestCsr(), spiffeId: id('/web'), caller };
    await expect(side.issuer.issueX509Svid(request)).rejects.toMatchObject({ code: 'unavailable' });
    await side.replica.settle();
    await side.issuer.issueX509Svid(request);
  });
});

describe('what would be signed is refused', () => {
  const withProfile = async (check: (order: X509Order, profile: IssuerProfile) => void): Promise<void> => {
    await using side = await IssuingSide.open();
    const profile = profileOf(side.authorities.activeX509(), trustDomain.name);
    const notAfterMs = Math.floor(side.nowMs / 1000) * 1000 + 60_000;
    check(
      { keyKind: 'csr', key: createTestCsr(), spiffeId: 'spiffe://example.org/web', dnsNames: [], nowMs: side.nowMs, notAfterMs },
      profile,
    );
  };

  it('when it is not the ID that was asked for, or none at all', () =>
    withProfile((order, profile) => {
      expect(codeOf(() => prepareX509({ ...order, spiffeId: 'spiffe://example.org' }, profile))).toBe('internal');
      expect(codeOf(() => prepareX509({ ...order, spiffeId: 'https://example.org/web' }, profile))).toBe('invalid_argument');
      const { spki } = createTestKey();
      expect(codeOf(() => prepareX509({ ...order, keyKind: 'spki', key: spki, spiffeId: undefined }, profile))).toBe('internal');
    }));

  it('when it outlives its authority, has ended, or never begins', () =>
    withProfile((order, profile) => {
      for (const notAfterMs of [profile.expiresAtMs + 1000, order.nowMs - 400, order.nowMs - 60_400]) {
        expect(codeOf(() => prepareX509({ ...order, notAfterMs }, profile))).toBe('internal');
      }
      expect(codeOf(() => prepareX509({ ...order, notAfterMs: profile.expiresAtMs }, profile))).toBeUndefined();
    }));

  it('when its authority has no name or a DNS name is broken; every finding is told', () =>
    withProfile((order, profile) => {
      const empty = { ...profile, issuerRaw: Uint8Array.of(0x30, 0) };
      const error = thrownBy(() => prepareX509({ ...order, dnsNames: ['a..b'], notAfterMs: order.nowMs - 400 }, empty));
      expect(error.code).toBe('internal');
      expect(error.message).toMatch(/issuer.*DNS names.*valid now/);
      expect(codeOf(() => prepareX509({ ...order, dnsNames: ['bücher.example.org'] }, profile))).toBe('invalid_argument');
    }));

  it('when the times of a token are wrong', async () => {
    await using side = await IssuingSide.open();
    const authority = side.authorities.activeToken('jwt');
    const issuedAtMs = Math.floor(side.nowMs / 1000) * 1000;
    const order = {
      spiffeId: id('/web'),
      audience: ['a'],
      includeTokenId: false,
      issuer: undefined,
      extraClaims: {},
      issuedAtMs,
    };
    for (const expiresAtMs of [issuedAtMs, issuedAtMs - 1000, issuedAtMs + 500, authority.expiresAtMs + 1000]) {
      expect(codeOf(() => prepareJwt({ ...order, expiresAtMs }, authority))).toBe('internal');
    }
    const prepared = prepareJwt({ ...order, expiresAtMs: issuedAtMs + 1000 }, authority);
    expect(await signToken(prepared, authority)).toContain(prepared.signedPart);
  });
});

describe('one failed order', () => {
  it('keeps its own error, and tells nothing of an unforeseen one', async () => {
    const known = new IdentityError('invalid_argument', 'why');
    expect(failureOf(known)).toBe(known);
    const unforeseen = failureOf(new TypeError('x is not a function'));
    expect(unforeseen).toMatchObject({ code: 'internal' });
    expect(unforeseen.message).not.toContain('function');
    await using side = await IssuingSide.open();
    const { key, ...active } = side.authorities.activeX509();
    const broken = { ...key, sign: () => Promise.reject(new IdentityError('unavailable', 'the HSM is away')) };
    const profile = profileOf({ ...active, key }, trustDomain.name);
    const order = {
      keyKind: 'csr',
      key: createTestCsr(),
      spiffeId: 'spiffe://example.org/w',
      dnsNames: [],
      nowMs: side.nowMs,
      notAfterMs: Math.floor(side.nowMs / 1000) * 1000 + 9000,
    } as const;
    expect(await signElsewhere(order, profile, broken)).toMatchObject({ code: 'unavailable' });
  });
});
