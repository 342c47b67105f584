import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { parsePolicy } from '../../../policy/parse-policy.ts';
import { parse } from 'yaml';
import { parseRequestAuthentication, REQUEST_AUTHENTICATION } from '../../../policy/resources/request-authentication.ts';
import {
  decodePolicy,
  decodeRequestAuthentication,
  encodePolicy,
  encodeRequestAuthentication,
} from '../../../policy/wire-policy.ts';
import { policy } from '../../support/policy/random.ts';
import { FULL_POLICIES } from '../../support/resources/good-policies.ts';

test('a policy comes back as it was sent, and its text says the same again', () => {
  fc.assert(
    fc.property(policy, (sent) => {
      const read = decodePolicy(encodePolicy(sent));
      expect(read).toEqual(sent);
      expect(encodePolicy(read)).toBe(encodePolicy(sent));
    }),
  );
});

test('so does one with every field and what the API server adds', () => {
  const metadata = {
    name: 'a',
    namespace: 'shop',
    uid: 'u-1',
    generation: 7,
    creationTimestamp: '2026-01-31T12:00:00Z',
    deletionTimestamp: '2026-01-31T12:00:00Z',
    annotations: { 'countersign.dev/refuse-if-denies': 'true' },
  };
  const sent = parsePolicy({ kind: 'AuthorizationPolicy', metadata, spec: FULL_POLICIES['AuthorizationPolicy'] });
  expect(decodePolicy(encodePolicy(sent))).toEqual(sent);
});

test.each(['', '7', 'null', '{}', '{"resource":{"kind":"AuthorizationPolicy"}}'])('%s is refused', (text) => {
  expect(() => decodePolicy(text)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
});

test('namespaces that are no names are refused', () => {
  const resource = { kind: 'ClusterAuthorizationPolicy', metadata: { name: 'a' }, spec: {} };
  expect(() => decodePolicy(JSON.stringify({ resource, namespaces: [7] }))).toThrow(
    expect.objectContaining({ field: 'namespaces' }),
  );
});

test('a RequestAuthentication comes out as it went in, as strictly read as a policy', () => {
  const authentication = parseRequestAuthentication(parse(REQUEST_AUTHENTICATION.example));
  const text = encodeRequestAuthentication(authentication);
  expect(decodeRequestAuthentication(text)).toEqual(authentication);
  expect(encodeRequestAuthentication(decodeRequestAuthentication(text))).toBe(text);
  expect(() => decodeRequestAuthentication(text.replace('"tokens"', '"token"'))).toThrow('spec.token');
});
