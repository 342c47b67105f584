import { afterEach, describe, expect, test } from 'vitest';

import { IdentityError } from '../../../../core/errors.ts';
import { JwtAuthority } from '../../../../spiffe/bundle.ts';
import { parseJwtSvidInsecure } from '../../../../spiffe/jwt-svid.ts';
import { AgentRig, codeOf, headers } from '../../../support/agent-rig.ts';
import { ownUid } from '../../../support/stand-in-ca.ts';
import { TestCa } from '../../../support/test-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const started = async (prepare?: NonNullable<Parameters<typeof AgentRig.start>[0]>['prepare']): Promise<AgentRig> =>
  (await AgentRig.start(prepare === undefined ? {} : { prepare })).ready();

const fetch = (audience: readonly string[], spiffeId = '') =>
  rig.workload.fetchJWTSVID({ audience: [...audience], spiffeId }, { headers });
const tokensOf = async (...args: Parameters<typeof fetch>): Promise<string[]> =>
  (await fetch(...args)).svids.map(({ svid }) => svid);

describe('FetchJWTSVID', () => {
  test('[Workload API §6.2.1] answers a token for the audience, with ID and hint', async () => {
    rig = await started((ca) => ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { hint: 'internal' } }));
    const { svids } = await fetch(['aud-1', 'aud-2']);
    expect(svids).toMatchObject([{ spiffeId: 'spiffe://example.org/web', hint: 'internal' }]);
    const { audience, id } = parseJwtSvidInsecure(svids[0]?.svid ?? '');
    expect([audience, id.toString()]).toEqual([['aud-1', 'aud-2'], 'spiffe://example.org/web']);
  });

  test('[Workload API §6.2.1] answers for all identities, or for the one that is asked for', async () => {
    rig = await started((ca) => ca.put({ id: 'second', path: '/second', selectors: [ownUid], createdAt: 2 }));
    expect((await fetch(['a'])).svids.map(({ spiffeId }) => spiffeId)).toEqual([
      'spiffe://example.org/web',
      'spiffe://example.org/second',
    ]);
    const one = await fetch(['a'], 'spiffe://example.org/second');
    expect(one.svids.map(({ spiffeId }) => spiffeId)).toEqual(['spiffe://example.org/second']);
  });

  test('[Workload API §4.5, §6.2.1] refuses a missing audience, a wrong ID and an ID of somebody else', async () => {
    rig = await started();
    expect(await codeOf(fetch([]))).toBe('invalid_argument');
    expect(await codeOf(fetch(['']))).toBe('invalid_argument');
    expect(await codeOf(fetch(['a'], 'https://example.org/web'))).toBe('invalid_argument');
    expect(await codeOf(fetch(['a'], 'spiffe://example.org/other'))).toBe('permission_denied');
  });

  test('keeps a token until half life, whatever the order of the audiences', async () => {
    rig = await started();
    const first = await tokensOf(['a', 'b']);
    rig.clock.advance(149_000);
    expect(await tokensOf(['b', 'a'])).toEqual(first);
    expect(await tokensOf(['a', 'b'])).toEqual(first);
    rig.clock.advance(2_000);
    expect(await tokensOf(['a', 'b'])).not.toEqual(first);
  });

  test('asks the CA once for callers that come together', async () => {
    rig = await started();
    const calls = rig.ca.calls.length;
    const tokens = await Promise.all(Array.from({ length: 20 }, () => tokensOf(['a'])));
    expect(new Set(tokens.flat()).size).toBe(1);
    expect(rig.ca.calls.slice(calls)).toEqual(['NewJWTSVID']);
  });

  test('asks for a new token each time when the entry wants a jti', async () => {
    rig = await started((ca) => ca.put({ id: 'web', path: '/web', selectors: [ownUid], jwtSvidIncludeJti: true }));
    expect(await tokensOf(['a'])).not.toEqual(await tokensOf(['a']));
  });

  test('asks for a new token when the claims of the entry have changed', async () => {
    const web = (team: string) => {
      return { id: 'web', path: '/web', selectors: [ownUid], more: { countersignJwtClaims: { team } } };
    };
    rig = await started((ca) => ca.put(web('a')));
    const before = await tokensOf(['a']);
    expect(await tokensOf(['a'])).toEqual(before);
    rig.ca.put(web('b'));
    await expect.poll(() => tokensOf(['a'])).not.toEqual(before);
  });

  test('says INVALID_ARGUMENT when the CA refuses for good, so that nobody tries again', async () => {
    rig = await (await AgentRig.start()).ready();
    rig.ca.signingFailure = new IdentityError('invalid_argument', 'the token would be too large');
    expect(await codeOf(rig.workload.fetchJWTSVID({ audience: ['a'.repeat(40_000)] }, { headers }))).toBe('invalid_argument');
  });

  test('serves the cached token while the CA is away, until it expires, and answers UNAVAILABLE for others', async () => {
    rig = await started();
    const first = await tokensOf(['a']);
    rig.ca.signingFailure = new IdentityError('unavailable', 'the store is down');
    rig.clock.advance(200_000);
    expect(await tokensOf(['a'])).toEqual(first);
    expect(await codeOf(fetch(['b']))).toBe('unavailable');
    rig.clock.advance(101_000);
    expect(await codeOf(fetch(['a']))).toBe('unavailable');
  });

  test('never revives an expired token when the clock steps back', async () => {
    rig = await started();
    await tokensOf(['a']);
    rig.ca.signingFailure = new IdentityError('unavailable', 'the store is down');
    rig.clock.advance(301_000);
    rig.clock.step(-3_600_000);
    expect(await codeOf(fetch(['a']))).toBe('unavailable');
  });

  test('drops tokens of an authority that is tainted', async () => {
    rig = await started();
    const first = await tokensOf(['a']);
    const { jwtKeyId, jwtKey } = rig.ca.signer;
    rig.ca.putBundle(rig.ca.signer.bundle({ jwtAuthorities: [new JwtAuthority(jwtKeyId, jwtKey.spki, { tainted: true })] }));
    await rig.until(async () => (await tokensOf(['a']))[0] !== first[0]);
  });

  test('gives no token of an entry that became another identity', async () => {
    rig = await started();
    await tokensOf(['a']);
    rig.ca.put({ id: 'web', path: '/renamed', selectors: [ownUid] });
    await rig.until(async () => (await fetch(['a'])).svids[0]?.spiffeId === 'spiffe://example.org/renamed');
    expect(parseJwtSvidInsecure((await tokensOf(['a']))[0] ?? '').id.toString()).toBe('spiffe://example.org/renamed');
  });
});

describe('ValidateJWTSVID', () => {
  const validate = (svid: string, audience = 'test-audience') => rig.workload.validateJWTSVID({ svid, audience }, { headers });

  test('[Workload API §6.2.3] answers ID and claims of a valid token', async () => {
    rig = await started();
    const token = rig.ca.signer.signJwt({ custom: { nested: [1, 'x'] } });
    const { spiffeId, claims } = await validate(token);
    expect(spiffeId).toBe('spiffe://example.org/workload');
    expect(claims).toMatchObject({ sub: spiffeId, aud: ['test-audience'], custom: { nested: [1, 'x'] } });
  });

  test('[JWT-SVID §3.2] answers a single audience as a list', async () => {
    rig = await started();
    const { claims } = await validate(rig.ca.signer.signJwt({ aud: 'test-audience' }));
    expect(claims).toMatchObject({ aud: ['test-audience'] });
  });

  test('[Workload API §4.5] refuses a request without audience or token', async () => {
    rig = await started();
    expect(await codeOf(validate(rig.ca.signer.signJwt(), ''))).toBe('invalid_argument');
    expect(await codeOf(validate(''))).toBe('invalid_argument');
  });

  test.each([
    ['another audience', (ca: TestCa) => ca.signJwt({ aud: ['other'] })],
    ['an unknown key', (ca: TestCa) => ca.signJwt({}, { kid: 'unknown' })],
    ['an expired token', (ca: TestCa) => ca.signJwt({ exp: Math.floor(ca.nowMs / 1000) - 120 })],
    ['a token of another root', () => TestCa.create().signJwt()],
    ['a token of a trust domain that is not federated', () => TestCa.create({ trustDomain: 'foreign.org' }).signJwt()],
    ['no token at all', () => 'garbage'],
  ])('[Workload API §6.2.3] refuses %s with INVALID_ARGUMENT', async (_what, sign) => {
    rig = await started();
    expect(await codeOf(validate(sign(rig.ca.signer)))).toBe('invalid_argument');
  });

  test('a valid answer is not given again after the token expired, nor after its key went', async () => {
    rig = await started();
    const token = rig.ca.signer.signJwt();
    await validate(token);
    await validate(token);
    rig.ca.putBundle(rig.ca.signer.bundle({ jwtAuthorities: [] }));
    await rig.until(async () => (await codeOf(validate(token))) === 'invalid_argument');
    rig.ca.putBundle(rig.ca.signer.bundle());
    await rig.until(async () => (await codeOf(validate(token))) === undefined);
    // The verification allows for a minute between the clocks of two machines.
    rig.clock.advance(361_000);
    expect(await codeOf(validate(token))).toBe('invalid_argument');
  });

  test('[Workload API §6.3] validates a token of a federated trust domain with that domain’s bundle and passes on sub, aud and exp only', async () => {
    let foreign = TestCa.create({ trustDomain: 'foreign.org' });
    rig = await started((ca) => {
      foreign = TestCa.create({ trustDomain: 'foreign.org', nowMs: ca.clock.nowMs() });
      ca.putBundle(foreign.bundle());
      ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { federatesWith: ['foreign.org'] } });
    });
    const { spiffeId, claims } = await validate(foreign.signJwt({ admin: true }));
    expect(spiffeId).toBe('spiffe://foreign.org/workload');
    expect(Object.keys(claims ?? {}).sort()).toEqual(['aud', 'exp', 'sub']);
  });
});
