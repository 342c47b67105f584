import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Issuer } from '../../../../ca/issue/issuer.ts';
import { prepareAccessToken } from '../../../../ca/issue/token.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { verifyJwtSvid } from '../../../../spiffe/jwt-svid.ts';
import { decoded } from '../../../support/token-rig.ts';
import { thrownBy } from '../../../support/thrown-by.ts';
import { HOUR_MS, id, IssuingSide, log, trustDomain, TTL } from './issuer-fixture.ts';

let side: IssuingSide;
beforeEach(async () => {
  side = await IssuingSide.open();
});
afterEach(() => side[Symbol.asyncDispose]());

function request(changes: { readonly path?: string; readonly notAfterMs?: number } = {}) {
  const claims = { iss: 'https://token.example.org', sub: 'alice', aud: 'orders' };
  return { spiffeId: id(changes.path ?? '/web'), caller: 'test', claims, notAfterMs: changes.notAfterMs ?? side.nowMs + 60_000 };
}

describe('an access token', () => {
  it('has whole seconds, an ID of its own, and a record of it', async () => {
    const { token, expiresAtMs } = await side.issuer.issueAccessToken(request());
    const { header, claims } = decoded(token);
    expect([header['typ'], header['kid']]).toEqual(['at+jwt', side.authorities.activeToken('exchange').id]);
    expect([claims['iat'], claims['exp']]).toEqual([Math.floor(side.nowMs / 1000), expiresAtMs / 1000]);
    expect(side.records.filter(({ serial }) => serial === claims['jti'])).toMatchObject([
      { kind: 'access-token', caller: 'test' },
    ]);
  });

  it('ends with the authority that signs it', async () => {
    const { expiresAtMs } = await side.issuer.issueAccessToken(request({ notAfterMs: side.nowMs + 100 * HOUR_MS }));
    expect(expiresAtMs).toBeLessThanOrEqual(side.authorities.activeToken('exchange').expiresAtMs);
  });

  it('is no JWT-SVID', async () => {
    const { token } = await side.issuer.issueAccessToken(request());
    expect(thrownBy(() => verifyJwtSvid(token, ['orders'], side.bundles, side.nowMs)).code).toBe('invalid_argument');
  });

  it('is given to workloads of this trust domain only', async () => {
    await expect(side.issuer.issueAccessToken(request({ path: '/spire/agent/x' }))).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('is never signed by an authority of the bundle', () => {
    const times = { issuedAtMs: 0, expiresAtMs: 1000, claims: {} };
    expect(thrownBy(() => prepareAccessToken(times, side.authorities.activeToken('jwt'))).code).toBe('internal');
  });

  it('does not leave without its record', async () => {
    const audit = { append: () => Promise.reject(new IdentityError('unavailable', 'full')), fault: () => undefined };
    const { authorities, replica } = side;
    // The cast is sound: an issuer only appends to its audit log.
    const options = { trustDomain, authorities, audit: audit as never, clock: replica.clock, ttl: TTL, workers: 0, log };
    await using issuer = new Issuer(options);
    await expect(issuer.issueAccessToken(request())).rejects.toMatchObject({ code: 'unavailable' });
  });
});
