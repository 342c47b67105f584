import { describe, expect, test } from 'vitest';
import { VerifiedTokens } from '../../../../agent/authz/verified-tokens.ts';
import { IdentityError } from '../../../../core/errors.ts';
import type { IssuerKey, TokenIssuer } from '../../../../policy/users/token-issuer.ts';
import type { VerifyUserTokenOptions } from '../../../../policy/users/user-token.ts';
import { createMetrics } from '../../../../runtime/metrics.ts';
import { AuthorizerRig } from '../../../support/authorizer-rig.ts';
import { authz } from '../../../support/policy/policy-objects.ts';
import { ISSUER, TestIssuer } from '../../../support/user-tokens.ts';

const NOW_MS = 1_800_000_000_000;
const MINUTE_MS = 60_000;
const issuer = new TestIssuer();

/** Tokens, and the keys of their issuer as they are at the moment. */
class Rig {
  readonly tokens = new VerifiedTokens();
  keys: readonly IssuerKey[] | undefined = issuer.keys;
  nowMs = NOW_MS;
  issuers: readonly TokenIssuer[] = [issuer.accepted()];
  ownIssuer: string | undefined;

  /** Asks for a token, and says whether it was known. */
  async ask(token: string): Promise<'hit' | 'miss'> {
    const before = this.tokens.counts.hits;
    const { user } = await this.tokens.verify(token, this.#options());
    expect(user.issuer).toBe(ISSUER);
    return this.tokens.counts.hits > before ? 'hit' : 'miss';
  }

  #options(): VerifyUserTokenOptions {
    const keysOf = async (): Promise<readonly IssuerKey[]> => {
      if (this.keys === undefined) throw new IdentityError('unavailable', 'no keys');
      return this.keys;
    };
    return { issuers: this.issuers, keys: { keysOf }, nowMs: this.nowMs, ownIssuer: this.ownIssuer };
  }
}

function tokenOf(claims: Readonly<Record<string, unknown>> = {}): string {
  const seconds = NOW_MS / 1000;
  return issuer.sign({ iss: ISSUER, sub: 'alice', aud: 'orders', iat: seconds - 10, exp: seconds + 300, ...claims });
}

describe('a verified token', () => {
  test('is known for a minute', async () => {
    const rig = new Rig();
    const token = tokenOf();
    expect(await rig.ask(token)).toBe('miss');
    expect(await rig.ask(token)).toBe('hit');
    rig.nowMs += MINUTE_MS - 1;
    expect(await rig.ask(token)).toBe('hit');
    rig.nowMs += 1;
    expect(await rig.ask(token)).toBe('miss');
    expect(await rig.ask(tokenOf({ sub: 'bob' }))).toBe('miss');
  });

  test('is not known beyond its exp, nor once the clock was set back before it', async () => {
    const rig = new Rig();
    const token = tokenOf({ exp: NOW_MS / 1000 + 5, nbf: NOW_MS / 1000 });
    await rig.ask(token);
    rig.nowMs += 4_999;
    expect(await rig.ask(token)).toBe('hit');
    rig.nowMs += 1;
    // Within the leeway: verified each time.
    expect([await rig.ask(token), await rig.ask(token)]).toEqual(['miss', 'miss']);
    rig.nowMs = NOW_MS + 10 * MINUTE_MS;
    await expect(rig.ask(token)).rejects.toMatchObject({ code: 'unauthenticated' });
    const other = new Rig();
    await other.ask(token);
    other.nowMs = NOW_MS - 10 * MINUTE_MS;
    await expect(other.ask(token)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('is verified anew with other keys, refused when its key is withdrawn, and not judged without keys', async () => {
    const rig = new Rig();
    const token = tokenOf();
    await rig.ask(token);
    rig.keys = [...issuer.keys, ...new TestIssuer({ keyId: 'key-2' }).keys];
    expect([await rig.ask(token), await rig.ask(token)]).toEqual(['miss', 'hit']);
    rig.keys = undefined;
    await expect(rig.ask(token)).rejects.toMatchObject({ code: 'unavailable' });
    rig.keys = new TestIssuer({ keyId: 'key-2' }).keys;
    await expect(rig.ask(token)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test.each<[string, (rig: Rig) => unknown]>([
    ['audiences', (rig) => (rig.issuers = [issuer.accepted({ audiences: ['orders', 'more'] })])],
    ['claims', (rig) => (rig.issuers = [issuer.accepted({ claims: { roles: 'groups' } })])],
    ['a place of keys', (rig) => (rig.issuers = [issuer.accepted({ jwksUri: `${ISSUER}/keys` })])],
    ['one issuer more', (rig) => (rig.issuers = [issuer.accepted(), issuer.accepted({ issuer: 'https://b.example.org' })])],
    ['an own issuer', (rig) => (rig.ownIssuer = 'https://ca.example.org')],
  ])('is verified anew against other %s; against the same, said anew, it is known', async (_what, change) => {
    const rig = new Rig();
    const token = tokenOf();
    await rig.ask(token);
    rig.issuers = [issuer.accepted()];
    expect(await rig.ask(token)).toBe('hit');
    change(rig);
    expect(await rig.ask(token)).toBe('miss');
  });

  test('is refused where it is for another audience', async () => {
    const rig = new Rig();
    const token = tokenOf();
    await rig.ask(token);
    rig.issuers = [issuer.accepted({ audiences: ['billing'] })];
    await expect(rig.ask(token)).rejects.toMatchObject({ code: 'unauthenticated' });
  });
});

test('what was refused is not remembered', async () => {
  const rig = new Rig();
  const token = tokenOf();
  rig.keys = [];
  await expect(rig.ask(token)).rejects.toMatchObject({ code: 'unauthenticated' });
  expect(rig.tokens.counts.tokens).toBe(0);
  rig.keys = issuer.keys;
  expect(await rig.ask(token)).toBe('miss');
});

test('one character more or less is another token', async () => {
  const rig = new Rig();
  const token = tokenOf();
  await rig.ask(token);
  const flipped = `${token.slice(0, -8)}${token.at(-8) === 'A' ? 'B' : 'A'}${token.slice(-7)}`;
  for (const other of [
    flipped,
    token.slice(0, -1),
    `${token}A`,
    `${token}.`,
    token.toUpperCase(),
    `${token}${'x'.repeat(20_000)}`,
  ]) {
    await expect(rig.ask(other)).rejects.toMatchObject({ code: 'unauthenticated' });
  }
});

describe('memory', () => {
  test('is bounded by number; the least recently used goes', async () => {
    const rig = new Rig();
    const [first, second] = [tokenOf({ jti: 'first' }), tokenOf({ jti: 'second' })];
    await rig.ask(first);
    await rig.ask(second);
    const fill = async (from: number, to: number): Promise<void> => {
      for (let index = from; index < to; index += 1) await rig.ask(tokenOf({ jti: `${index}` }));
    };
    await fill(0, 1_000);
    expect(await rig.ask(first)).toBe('hit');
    await fill(1_000, 1_999);
    expect(rig.tokens.counts.tokens).toBe(2_000);
    expect([await rig.ask(first), await rig.ask(second)]).toEqual(['hit', 'miss']);
  });

  test('is bounded by size', async () => {
    const rig = new Rig();
    for (let index = 0; index < 450; index += 1) await rig.ask(tokenOf({ jti: `${index}`, filler: 'x'.repeat(9_000) }));
    expect(rig.tokens.counts.tokens).toBeGreaterThan(300);
    expect(rig.tokens.counts.tokens).toBeLessThan(360);
  });

  test('holds nothing that is over, once others come', async () => {
    const rig = new Rig();
    for (let index = 0; index < 10; index += 1) await rig.ask(tokenOf({ jti: `${index}` }));
    rig.nowMs += MINUTE_MS;
    await rig.ask(tokenOf({ jti: 'later' }));
    expect(rig.tokens.counts.tokens).toBe(1);
  });
});

test('hits are counted', async () => {
  const rig = new Rig();
  const registry = createMetrics();
  await rig.tokens.registerMetrics(registry);
  const token = tokenOf();
  for (let count = 0; count < 3; count += 1) await rig.ask(token);
  const shown = await registry.getSingleMetricAsString('countersign_agent_user_token_cache_total');
  expect(shown).toContain('countersign_agent_user_token_cache_total{outcome="hit"} 2');
  expect(shown).toContain('countersign_agent_user_token_cache_total{outcome="miss"} 1');
});

test('the authorizer verifies with it; a RequestAuthentication that changes, or goes, is heeded at once', async () => {
  const tokens = new VerifiedTokens();
  const { keys } = issuer;
  const rig = new AuthorizerRig({ keys: { keysOf: () => Promise.resolve(keys) }, verify: tokens.verify });
  const seconds = Math.floor(rig.clock.nowMs() / 1000);
  const token = issuer.sign({ iss: ISSUER, sub: 'alice', aud: 'orders', iat: seconds, exp: seconds + 300 });
  const accept = (audience: string): object => ({
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'RequestAuthentication',
    metadata: { name: 'people', namespace: 'shop' },
    spec: { issuers: [{ issuer: ISSUER, audiences: [audience] }] },
  });
  const users = authz('users', { rules: [{ from: [{ users: [{ subjects: ['alice'] }] }] }] });
  const answer = async (...resources: readonly object[]): Promise<string> => {
    await rig.enforce([...resources, users]);
    return (await rig.ask({ headers: { authorization: `Bearer ${token}` } })).reason;
  };
  expect(await answer(accept('orders'))).toBe('allowed_by_rule');
  expect(await answer(accept('orders'))).toBe('allowed_by_rule');
  expect(tokens.counts).toEqual({ tokens: 1, hits: 1, misses: 1 });
  expect(await answer(accept('billing'))).toBe('user_refused');
  expect(await answer()).toBe('no_rule_matches');
});
