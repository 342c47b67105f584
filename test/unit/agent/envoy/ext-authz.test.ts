import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Authorizer, Check, Outcome } from '../../../../agent/authz/check.ts';
import type { DecidedCall } from '../../../../agent/authz/decided-call.ts';
import { extAuthz } from '../../../../agent/envoy/ext-authz.ts';
import type { AttributeContextSchema } from '../../../../proto/gen/envoy/service/auth/v3/attribute_context_pb.ts';
import {
  CheckRequestSchema,
  type CheckResponse,
  CheckResponseSchema,
} from '../../../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { EncodedMessage } from '../../../../runtime/grpc/encoded-message.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { selectorSetOf } from '../../../support/enforced-policies.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { attestedCall } from '../../../support/attested-call.ts';

const ASKING = selectorSetOf(['unix:uid:7']);
const ALLOWED: Outcome = { verdict: 'allow', status: 200, headers: new Map(), reason: 'allowed_by_rule' };
const DENIED: Outcome = { verdict: 'deny', status: 403, headers: new Map(), reason: 'no_rule_matches' };
const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

let outcome: Outcome | Promise<Outcome>;
let checks: Check[];
let told: DecidedCall[];
beforeEach(() => {
  outcome = ALLOWED;
  checks = [];
  told = [];
});

const authorizer: Authorizer = {
  authorize(check) {
    checks.push(check);
    return outcome;
  },
};
const handlers = extAuthz({ authorizer, clock: new ManualClock(), onDecided: (decided) => told.push(decided) });

async function ask(attributes?: MessageInitShape<typeof AttributeContextSchema>): Promise<CheckResponse> {
  const request = create(CheckRequestSchema, attributes === undefined ? {} : { attributes });
  const answer = await handlers.check?.(request, attestedCall(ASKING));
  if (!(answer instanceof EncodedMessage)) throw new Error('the answer is not encoded');
  return fromBinary(CheckResponseSchema, answer.bytes);
}

const http = (more: object = {}): MessageInitShape<typeof AttributeContextSchema> => ({
  source: { principal: 'spiffe://example.org/web', address: socketAddress('10.1.2.3', 4711) },
  destination: { address: socketAddress('10.0.0.1', 8443) },
  request: { http: { method: 'GET', path: '/orders?q=1', host: 'orders', headers: { ':path': '/x', accept: 'a' }, ...more } },
});

function socketAddress(address: string, port: number) {
  const portSpecifier = { case: 'portValue' as const, value: port };
  return { address: { case: 'socketAddress' as const, value: { address, portSpecifier } } };
}

describe('what Envoy asks', () => {
  test('a request', async () => {
    await ask(http());
    expect(checks).toMatchObject([
      {
        point: 'ext_authz',
        asking: ASKING,
        sourceAddress: '10.1.2.3',
        port: 8443,
        request: { method: 'GET', target: '/orders?q=1', authority: 'orders', headers: [['accept', 'a']] },
      },
    ]);
    expect(checks[0]?.sourceId?.toString()).toBe('spiffe://example.org/web');
  });

  test('raw headers go before text, and keep their bytes and their number', async () => {
    const headers = [
      { key: ':path', rawValue: bytes('/a\u00ff') },
      { key: ':method', rawValue: bytes('PUT') },
      { key: ':authority', rawValue: bytes('other') },
      { key: 'x', rawValue: bytes('1') },
      { key: 'x', rawValue: bytes('\u00e9') },
      { key: 'y', value: '\u00e9' },
    ];
    await ask(http({ headerMap: { headers } }));
    expect(checks[0]?.request).toEqual({
      method: 'PUT',
      target: '/a\u00ff',
      authority: 'other',
      headers: [
        ['x', '1'],
        ['x', '\u00e9'],
        ['y', '\u00c3\u00a9'],
      ],
    });
  });

  test('a connection', async () => {
    const { source, destination } = http();
    await ask({ ...(source && { source }), ...(destination && { destination }) });
    expect(checks[0]?.request).toBeUndefined();
  });

  test('the destination that the configuration names, that of the route first', async () => {
    const one = { 'countersign.dev/destination': 'spiffe://example.org/one' };
    const two = { 'countersign.dev/destination': 'spiffe://example.org/two' };
    await ask({ destination: { labels: one } });
    await ask({ destination: { labels: one }, contextExtensions: two });
    expect(checks.map(({ destinationId }) => destinationId?.path)).toEqual(['/one', '/two']);
  });

  test.each([
    ['attributes_missing', undefined],
    ['source_invalid', { source: { principal: 'CN=web' } }],
    ['source_invalid', { source: { principal: 'spiffe://example.org/web,spiffe://example.org/admin' } }],
    ['source_invalid', { source: { principal: 'spiffe://example.org/web', certificate: 'nonsense' } }],
    ['source_invalid', { source: { principal: 'spiffe://example.org/web', certificate: '%' } }],
    ['destination_invalid', { contextExtensions: { 'countersign.dev/destination': '' } }],
  ])('%s is denied without asking anybody, and told', async (reason, attributes) => {
    const response = await ask(attributes);
    expect(response.status?.code).toBe(7);
    expect(response.httpResponse.case).toBe('deniedResponse');
    expect(checks).toEqual([]);
    expect(told).toMatchObject([{ outcome: { verdict: 'deny', reason } }]);
  });
});

describe('what is answered', () => {
  test('an allowed request gets the name of its caller, and loses what was forged', async () => {
    const headers = {
      'x-countersign-source': 'spiffe://example.org/admin',
      'x-countersign-user': 'root',
      x_countersign_user: 'root',
      'x-countersign_user-issuer': 'root',
      'x-countersignature': 'kept',
    };
    const { status, httpResponse } = await ask(http({ headers }));
    expect(status?.code).toBe(0);
    expect(httpResponse).toMatchObject({
      case: 'okResponse',
      value: {
        headers: [{ header: { key: 'x-countersign-source', value: 'spiffe://example.org/web' }, appendAction: 2 }],
        headersToRemove: ['x-countersign-user', 'x_countersign_user', 'x-countersign_user-issuer'],
      },
    });
  });

  test('an allowed request gets the name of its user, which replaces one that was forged', async () => {
    const user = { issuer: 'https://login.example.org', subject: 'J\u00fcrgen, 1', claims: {}, actors: [] };
    outcome = { ...ALLOWED, user };
    const { httpResponse } = await ask(http({ headers: { 'x-countersign-user': 'root', 'x-countersign-policy': 'a' } }));
    const { headers = [], headersToRemove } = httpResponse.case === 'okResponse' ? httpResponse.value : {};
    expect(headers.map(({ header, appendAction }) => [header?.key, header?.value, appendAction])).toEqual([
      ['x-countersign-source', 'spiffe://example.org/web', 2],
      ['x-countersign-user', 'J%C3%BCrgen,%201', 2],
      ['x-countersign-user-issuer', 'https://login.example.org', 2],
    ]);
    expect(headersToRemove).toEqual(['x-countersign-policy']);
    outcome = { ...ALLOWED, user: { ...user, subject: 'bob' } };
    const other = await ask(http());
    const second = other.httpResponse.case === 'okResponse' ? other.httpResponse.value.headers[1]?.header?.value : undefined;
    expect(second).toBe('bob');
  });

  test('one of a caller without a name loses the header in any case', async () => {
    const { request } = http();
    const { httpResponse } = await ask({ ...(request && { request }) });
    expect(httpResponse).toMatchObject({ case: 'okResponse', value: { headers: [], headersToRemove: ['x-countersign-source'] } });
  });

  test.each([
    [400, 'user_refused', 3, 'invalid_request'],
    [401, 'user_missing', 16, 'unauthenticated'],
    [403, 'no_rule_matches', 7, 'permission_denied'],
    [403, 'path_encoded_slash', 7, 'path_encoded_slash'],
    [503, 'user_unavailable', 14, 'unavailable'],
  ] as const)('a denial with %i for %s', async (status, reason, code, named) => {
    outcome = { verdict: 'deny', status, headers: new Map([['www-authenticate', 'Bearer']]), reason };
    const response = await ask(http());
    expect(response.status?.code).toBe(code);
    if (response.httpResponse.case !== 'deniedResponse') throw new Error('not denied');
    const { status: http_, headers, body } = response.httpResponse.value;
    expect(http_?.code).toBe(status);
    expect(headers.map(({ header }) => `${header?.key}: ${header?.value}`)).toEqual([
      'www-authenticate: Bearer',
      'content-type: application/json',
    ]);
    expect(JSON.parse(body)).toMatchObject({ code: named });
  });

  test('a verdict counts, not a status: what is denied is never 200', async () => {
    outcome = { ...DENIED, status: 200 };
    const { status, httpResponse } = await ask(http());
    expect([status?.code, httpResponse.case]).toEqual([7, 'deniedResponse']);
    expect(httpResponse).toMatchObject({ value: { status: { code: 403 } } });
  });

  test('a gRPC request gets a sentence, which Envoy makes the message of its status', async () => {
    outcome = DENIED;
    const { httpResponse } = await ask(http({ headers: { 'content-type': 'application/grpc+proto' } }));
    expect(httpResponse).toMatchObject({
      value: { headers: [], body: 'The request is not allowed. Ask the owners of the service for access.' },
    });
  });

  test('what decided goes into the metadata', async () => {
    const policy = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' } as const;
    const dryRun = { verdict: 'deny', reason: 'denied_by_rule', policy: { ...policy, name: 'b' }, rule: 1, audits: [] } as const;
    const decision = { verdict: 'allow', reason: 'allowed_by_rule', policy, rule: 0, audits: [], dryRun } as const;
    outcome = { ...ALLOWED, decision, destinationId: parseSpiffeId('spiffe://example.org/orders') };
    expect((await ask(http())).dynamicMetadata).toEqual({
      verdict: 'allow',
      reason: 'allowed_by_rule',
      destination: 'spiffe://example.org/orders',
      policy: 'AuthorizationPolicy/shop/a',
      rule: 0,
      dry_run_verdict: 'deny',
      dry_run_reason: 'denied_by_rule',
      dry_run_policy: 'AuthorizationPolicy/shop/b',
      dry_run_rule: 1,
    });
  });

  test('equal answers are the same bytes, others are not, however many there are', async () => {
    const keep = async (): Promise<EncodedMessage | undefined> => {
      const answer = await handlers.check?.(create(CheckRequestSchema, { attributes: http() }), attestedCall(ASKING));
      return answer instanceof EncodedMessage ? answer : undefined;
    };
    const first = await keep();
    expect(await keep()).toBe(first);
    outcome = DENIED;
    expect(await keep()).not.toBe(first);
    for (let index = 0; index < 2_000; index++) {
      outcome = { ...ALLOWED, reason: `r${index}` };
      expect((await ask(http())).dynamicMetadata).toMatchObject({ reason: `r${index}` });
    }
  });

  test('one that has to be waited for', async () => {
    outcome = Promise.resolve(DENIED);
    expect((await ask(http())).status?.code).toBe(7);
  });
});
