import { describe, expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import { notesOn } from '../../../../ca/config-notes.ts';
import { caConfig, type CaConfig } from '../../../../ca/config.ts';
import { ruleBasedPolicy } from '../../../../ca/exchange/exchange-policy.ts';
import { decode, DecodeError } from '../../../../core/decode.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';

function read(exchange: string, rest = 'listen: { grpc: "a:1", admin: "unix:./a.sock", token: "a:2" }'): CaConfig {
  const yaml = `trustDomain: example.org\ndataDir: ./data\njwtIssuer: https://id.example.org\n${rest}\ntokenExchange: ${exchange}`;
  return decode(caConfig('/etc/countersign'), parseDocument(yaml).toJS());
}

function faultsOf(exchange: string): readonly string[] {
  try {
    read(exchange);
    return [];
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return error.faults.map(({ path }) => path.replace('tokenExchange.', ''));
  }
}

const ISSUER = 'issuer: "https://token.example.org"';

describe('tokenExchange in ca.yaml', () => {
  test('needs an issuer and defaults the rest: nobody gets anything', () => {
    expect(read(`{ ${ISSUER} }`).tokenExchange).toMatchObject({
      maxTtl: { ms: 300_000 },
      issuers: [],
      rules: [],
      allowPrivateHosts: [],
      webRootFiles: [],
    });
  });

  test.each([
    ['no issuer', '{}', 'issuer'],
    ['an issuer without TLS', '{ issuer: "http://token.example.org" }', 'issuer'],
    ['an issuer with a path', '{ issuer: "https://token.example.org/a" }', 'issuer'],
    ['an issuer with a slash', '{ issuer: "https://token.example.org/" }', 'issuer'],
    ['the issuer of JWT-SVIDs', '{ issuer: "https://id.example.org" }', 'issuer'],
    ['tokens for longer than an hour', `{ ${ISSUER}, maxTtl: 61m }`, 'maxTtl'],
    ['tokens for no time', `{ ${ISSUER}, maxTtl: 0s }`, 'maxTtl'],
    ['an unknown key', `{ ${ISSUER}, colour: red }`, 'colour'],
    ['itself among the issuers', `{ ${ISSUER}, issuers: [{ ${ISSUER} }] }`, 'issuers[0].issuer'],
    ['an issuer twice', `{ ${ISSUER}, issuers: [{ issuer: "https://a" }, { issuer: "https://a" }] }`, 'issuers[1].issuer'],
    ['keys without TLS', `{ ${ISSUER}, issuers: [{ issuer: "https://a", jwksUri: "http://a/keys" }] }`, 'issuers[0].jwksUri'],
    ['a claim that is ours to set', `{ ${ISSUER}, issuers: [{ issuer: "https://a", claims: { act: x } }] }`, 'issuers[0].claims'],
    [
      'the user’s issuer from elsewhere',
      `{ ${ISSUER}, issuers: [{ issuer: "https://a", claims: { subject_issuer: x } }] }`,
      'issuers[0].claims',
    ],
    ['scopes from elsewhere', `{ ${ISSUER}, issuers: [{ issuer: "https://a", claims: { scope: x } }] }`, 'issuers[0].claims'],
    [
      'a workload of another trust domain',
      `{ ${ISSUER}, rules: [{ workloads: ["spiffe://other.org/a"], audiences: [b] }] }`,
      'rules[0].workloads[0]',
    ],
    [
      'a SPIFFE ID as further name',
      `{ ${ISSUER}, rules: [{ workloads: [], addressedAs: ["spiffe://example.org/b"], audiences: [b] }] }`,
      'rules[0].addressedAs[0]',
    ],
    ['a scope with a blank', `{ ${ISSUER}, rules: [{ workloads: [], audiences: [b], scopes: ["a b"] }] }`, 'rules[0].scopes[0]'],
    ['an unknown grant', `{ ${ISSUER}, rules: [{ workloads: [], audiences: [b], grants: [password] }] }`, 'rules[0].grants[0]'],
  ])('refuses %s', (_what, exchange, path) => {
    expect(faultsOf(exchange)).toEqual([path]);
  });

  test('is noted where it has no effect', () => {
    expect(notesOn(read(`{ ${ISSUER} }`, 'listen: { grpc: "a:1", admin: "unix:./a.sock" }')).join()).toContain('tokenExchange');
    expect(notesOn(read('null')).join()).toContain('listen.token');
  });
});

describe('rules', () => {
  const [web, orders] = [parseSpiffeId('spiffe://example.org/web'), parseSpiffeId('spiffe://example.org/orders')];
  const rule = { workloads: [web], addressedAs: ['web'], audiences: ['orders'], scopes: ['read'], grants: ['exchange'] } as const;

  test('add up, and what none permits is refused', () => {
    const policy = ruleBasedPolicy([
      rule,
      { ...rule, scopes: ['write'] },
      { ...rule, scopes: undefined, grants: ['clientCredentials'] },
    ]);
    const permits = (grant: 'exchange' | 'clientCredentials', workload = web, audience = 'orders') =>
      policy.permits({ workload, grant, audience });
    expect(permits('exchange')).toEqual({ scopes: ['read', 'write'] });
    // Without a subject token there is nothing else that would limit them.
    expect(permits('clientCredentials')).toEqual({ scopes: [] });
    expect([permits('exchange', orders), permits('exchange', web, 'stock')]).toEqual([undefined, undefined]);
    expect(
      ruleBasedPolicy([rule, { ...rule, scopes: undefined }]).permits({ workload: web, grant: 'exchange', audience: 'orders' }),
    ).toEqual({ scopes: undefined });
  });

  test('say what a workload is called', () => {
    const policy = ruleBasedPolicy([rule]);
    expect([policy.namesOf(web), policy.namesOf(orders)]).toEqual([
      ['spiffe://example.org/web', 'web'],
      ['spiffe://example.org/orders'],
    ]);
  });
});
