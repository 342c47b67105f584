import { expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import { AuthorizationSettings } from '../../../ca/authorization-settings.ts';
import { caConfig } from '../../../ca/config.ts';
import type { Authority } from '../../../ca/model.ts';
import { decode } from '../../../core/decode.ts';
import { exchangeAuthority } from '../../support/exchange-authority.ts';

class Registry {
  authorities: readonly Authority[] = [];
  bundle = { value: {} };

  publish(...authorities: readonly Authority[]): void {
    this.authorities = authorities;
    this.bundle = { value: {} };
  }
}

const registry = new Registry();
const source = (listen: string, rest = '') => {
  const text = `trustDomain: example.org\ndataDir: /data\nlisten: { grpc: "127.0.0.1:1", admin: "unix:/a.sock"${listen} }\n${rest}`;
  return new AuthorizationSettings(decode(caConfig('/'), parseDocument(text).toJS()), registry);
};
const exchange = 'tokenExchange: { issuer: "https://token.example.org" }';

test('agents are told what is decided by default', () => {
  expect(source('').value).toEqual({ defaultAction: 'audit' });
  expect(source('', 'authorization: { default: deny }').value).toEqual({ defaultAction: 'deny' });
});

test('agents are told of the token exchange where it is served, and only there', () => {
  registry.publish(exchangeAuthority('one'));
  expect(source(', token: "127.0.0.1:2"', exchange).value).toMatchObject({
    defaultAction: 'audit',
    exchangeIssuer: 'https://token.example.org',
    exchangeJwksUri: 'https://token.example.org/oauth2/jwks',
  });
  expect(source('', exchange).value).toEqual({ defaultAction: 'audit' });
});

test('the settings are others when the keys of the exchange are, and the same object while they are not', () => {
  registry.publish();
  const settings = source(', token: "127.0.0.1:2"', exchange);
  const keyIds = (): unknown[] => {
    // The cast is sound: it is a JWK set.
    const { keys } = JSON.parse(Buffer.from(settings.value.exchangeJwks ?? []).toString()) as { keys: { kid: unknown }[] };
    return keys.map(({ kid }) => kid);
  };
  expect(keyIds()).toEqual([]);
  const [one, two] = [exchangeAuthority('one'), exchangeAuthority('two')];
  registry.publish(one, { ...two, kind: 'jwt' });
  expect(keyIds()).toEqual(['one']);
  const before = settings.value;
  registry.publish(one, { ...two, kind: 'wit' });
  expect(settings.value).toBe(before);
  registry.publish(one, two);
  expect(keyIds()).toEqual(['one', 'two']);
  registry.publish({ ...one, tainted: true }, two);
  expect(keyIds()).toEqual(['two']);
});
