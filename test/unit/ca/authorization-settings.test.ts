import { expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import { authorizationSettings } from '../../../ca/authorization-settings.ts';
import { caConfig } from '../../../ca/config.ts';
import { decode } from '../../../core/decode.ts';

const settings = (listen: string, rest = '') => {
  const text = `trustDomain: example.org\ndataDir: /data\nlisten: { grpc: "127.0.0.1:1", admin: "unix:/a.sock"${listen} }\n${rest}`;
  return authorizationSettings(decode(caConfig('/'), parseDocument(text).toJS()));
};
const exchange = 'tokenExchange: { issuer: "https://token.example.org" }';

test('agents are told what is decided by default', () => {
  expect(settings('')).toEqual({ defaultAction: 'audit' });
  expect(settings('', 'authorization: { default: deny }')).toEqual({ defaultAction: 'deny' });
});

test('agents are told of the token exchange where it is served, and only there', () => {
  expect(settings(', token: "127.0.0.1:2"', exchange)).toEqual({
    defaultAction: 'audit',
    exchangeIssuer: 'https://token.example.org',
    exchangeJwksUri: 'https://token.example.org/oauth2/jwks',
  });
  expect(settings('', exchange)).toEqual({ defaultAction: 'audit' });
});
