import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { beforeEach, describe, expect, test } from 'vitest';
import type { DecidedCall } from '../../../../agent/authz/decided-call.ts';
import { Destinations } from '../../../../agent/authz/destinations.ts';
import { accessLog } from '../../../../agent/envoy/access-log.ts';
import { readHttpEntry, readTcpEntry } from '../../../../agent/envoy/access-log-entry.ts';
import { readDenial } from '../../../../agent/envoy/rule-name.ts';
import { RequestMethod } from '../../../../proto/gen/envoy/config/core/v3/header_pb.ts';
import {
  type AccessLogCommonSchema,
  AccessLogType,
  type HTTPAccessLogEntry,
  HTTPAccessLogEntrySchema,
  type TCPAccessLogEntry,
  TCPAccessLogEntrySchema,
} from '../../../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.ts';
import {
  type StreamAccessLogsMessage,
  StreamAccessLogsMessageSchema,
} from '../../../../proto/gen/envoy/service/accesslog/v3/als_pb.ts';
import { attestedCall } from '../../../support/attested-call.ts';
import { EnforcedPolicies, selectorSetOf } from '../../../support/enforced-policies.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { DESTINATIONS } from '../../../support/policy/cast.ts';
import { orders } from '../../../support/policy/policy-objects.ts';
import { TestCa } from '../../../support/test-ca.ts';

type Common = Exclude<MessageInitShape<typeof AccessLogCommonSchema>, { $typeName: string }>;

const WEB = 'spiffe://example.org/web';
const DENIED = 'rbac_access_denied_matched_policy[no_rule_matches]';
const certificate = (...uris: string[]) => ({
  subjectAltName: uris.map((value) => ({ san: { case: 'uri' as const, value } })),
});
const peer = (...uris: string[]): Common => ({ tlsProperties: { peerCertificateProperties: certificate(...uris) } });

function httpEntry(details: string, common: Common = peer(WEB), request: object = {}): HTTPAccessLogEntry {
  return create(HTTPAccessLogEntrySchema, {
    commonProperties: common,
    request: { requestMethod: RequestMethod.GET, authority: 'orders', path: '/orders?q=1', ...request },
    response: { responseCodeDetails: details },
  });
}

const tcpEntry = (common: Common): TCPAccessLogEntry => create(TCPAccessLogEntrySchema, { commonProperties: common });

describe('an entry about a request', () => {
  test.each([
    ['via_upstream', 'allow'],
    ['upstream_response_timeout', 'allow'],
    ['direct_response', 'allow'],
    [DENIED, 'deny'],
    ['route_not_found', undefined],
    ['http1.codec_error', undefined],
    ['ext_authz_error', undefined],
    ['rbac_access_denied_matched_policy', undefined],
    ['', undefined],
  ])('with the details %j says %s', (details, verdict) => {
    expect(readHttpEntry(httpEntry(details))?.verdict).toBe(verdict);
  });

  test.each<[string, Common]>([
    ['metadata of ext_authz', { metadata: { filterMetadata: { 'envoy.filters.http.ext_authz': { verdict: 'allow' } } } }],
    [
      'metadata of the network filter',
      { metadata: { filterMetadata: { 'envoy.filters.network.ext_authz': { verdict: 'deny' } } } },
    ],
    ['the flag of ext_authz', { responseFlags: { unauthorizedDetails: {} } }],
    ['the type of a begin', { accessLogType: AccessLogType.DownstreamStart }],
    ['the type of a part', { accessLogType: AccessLogType.DownstreamPeriodic }],
    ["the type of an upstream's end", { accessLogType: AccessLogType.UpstreamEnd }],
    ['two names of the caller', peer(WEB, 'spiffe://example.org/admin')],
    ['no SPIFFE ID of the caller', peer('https://example.org')],
    ['a destination that is none', { ...peer(WEB), customTags: { 'countersign.dev/destination': 'orders' } }],
  ])('with %s says nothing', (_name, common) => {
    expect(readHttpEntry(httpEntry('via_upstream', { ...peer(WEB), ...common }))).toBeUndefined();
    expect(readHttpEntry(httpEntry(DENIED, { ...peer(WEB), ...common }))).toBeUndefined();
  });

  test('without its parts says nothing', () => {
    expect(readHttpEntry(create(HTTPAccessLogEntrySchema, {}))).toBeUndefined();
    expect(readHttpEntry(create(HTTPAccessLogEntrySchema, { commonProperties: {} }))).toBeUndefined();
    expect(readTcpEntry(create(TCPAccessLogEntrySchema, {}))).toBeUndefined();
  });

  test('tells the method from the header where there is one', () => {
    const requestHeaders = { ':method': 'PURGE', 'content-type': 'application/grpc' };
    expect(readHttpEntry(httpEntry('via_upstream', peer(WEB), { requestHeaders }))?.request).toEqual({
      method: 'PURGE',
      target: '/orders?q=1',
      authority: 'orders',
      headers: [['content-type', 'application/grpc']],
    });
    expect(readHttpEntry(httpEntry('via_upstream'))?.request?.method).toBe('GET');
    expect(readHttpEntry(httpEntry('via_upstream', peer(WEB), { requestMethod: 99 }))?.request?.method).toBe('');
  });

  test('believes no path that a client may have put into a header', () => {
    expect(readHttpEntry(httpEntry('via_upstream', peer(WEB), { originalPath: '/admin' }))?.request?.target).toBe('/orders?q=1');
  });
});

describe('an entry about a connection', () => {
  const failed = (reason: string): Common => ({ ...peer(WEB), downstreamTransportFailureReason: reason });

  test('of a listener tells of refusals only', () => {
    expect(readTcpEntry(tcpEntry(peer(WEB)))).toBeUndefined();
    expect(readTcpEntry(tcpEntry({ ...peer(WEB), connectionTerminationDetails: DENIED }))).toMatchObject({
      verdict: 'deny',
      reason: 'denied_by_proxy',
      by: { reason: 'no_rule_matches' },
    });
  });

  test('of a TCP proxy tells of those that went on', () => {
    const end = { ...peer(WEB), accessLogType: AccessLogType.TcpConnectionEnd };
    expect(readTcpEntry(tcpEntry(end))?.verdict).toBe('allow');
    expect(readTcpEntry(tcpEntry({ ...end, connectionTerminationDetails: DENIED }))).toBeUndefined();
  });

  test.each([
    ['TLS_error:|CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN match:TLS_error_end', WEB],
    ['TLS_error:|CERTIFICATE_VERIFY_FAILED:verify cert failed: verify SAN list:TLS_error_end', WEB],
    ['TLS_error:|CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate verification error', undefined],
    ['TLS_error:|NO_SHARED_CIPHER', undefined],
  ])('whose handshake failed with %s', (reason, source) => {
    const seen = readTcpEntry(tcpEntry(failed(reason)));
    expect([seen?.verdict, seen?.reason, seen?.sourceId?.toString()]).toEqual(['deny', 'handshake_refused', source]);
  });
});

test.each([
  [
    'AuthorizationPolicy/shop/a.b#12',
    { rule: { policy: { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a.b' }, rule: 12 } },
  ],
  [
    'ClusterAuthorizationPolicy//a#0',
    { rule: { policy: { kind: 'ClusterAuthorizationPolicy', namespace: '', name: 'a' }, rule: 0 } },
  ],
  ['no_rule_matches~3', { reason: 'no_rule_matches' }],
  ['path_encoded_slash', { reason: 'path_encoded_slash' }],
  ['none', undefined],
  ['anything_else', undefined],
  ['RequestAuthentication/shop/a#0', undefined],
  ['AuthorizationPolicy/shop/a#-1', undefined],
])('the name of a denial, %s', (name, expected) => {
  expect(readDenial(name)).toEqual(expected);
});

describe('the service', () => {
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const told: DecidedCall[] = [];
  beforeEach(() => void (told.length = 0));

  const pod = DESTINATIONS.orders.selectors;

  async function send(
    policies: EnforcedPolicies,
    asking: Iterable<string>,
    ...messages: readonly StreamAccessLogsMessage[]
  ): Promise<void> {
    const { identities, policy } = policies;
    const inForce = { policy, destinations: new Destinations(identities) };
    const handlers = accessLog({ inForce, clock: new ManualClock(), onDecided: (decided) => told.push(decided) });
    await handlers.streamAccessLogs?.(streamOf(messages), attestedCall(selectorSetOf(asking)));
  }

  const http = (...logEntry: HTTPAccessLogEntry[]): StreamAccessLogsMessage =>
    create(StreamAccessLogsMessageSchema, { logEntries: { case: 'httpLogs', value: { logEntry } } });

  test('takes entries to be about the workload that it was attested as, and no other', async () => {
    const policies = new EnforcedPolicies(ca);
    await policies.enforce([DESTINATIONS.orders], { policies: [orders('p', { rules: [{}] })] });
    const foreign = { 'countersign.dev/destination': 'spiffe://example.org/ns/shop/sa/catalog' };
    await send(policies, pod, http(httpEntry('via_upstream'), httpEntry('via_upstream', { ...peer(WEB), customTags: foreign })));
    expect(told.map(({ call, outcome }) => [call?.destination.spiffeId?.path, outcome.reason])).toEqual([
      ['/ns/shop/sa/orders', 'allowed_by_proxy'],
      [undefined, 'no_identity'],
    ]);
    expect(told[0]?.outcome.decision).toMatchObject({ verdict: 'allow', policy: { name: 'p' }, rule: 0 });
  });

  test('takes the identity whose certificate was shown, of several, unless the configuration names one', async () => {
    const policies = new EnforcedPolicies(ca);
    const { orders: one, catalog: two } = DESTINATIONS;
    await policies.enforce([one, two], { policies: [] });
    const shown = { tlsProperties: { localCertificateProperties: certificate(two.spiffeId.toString()) } };
    const customTags = { 'countersign.dev/destination': one.spiffeId.toString() };
    await send(
      policies,
      ['k8s:ns:shop'],
      http(httpEntry(DENIED, shown), httpEntry(DENIED, { ...shown, customTags }), httpEntry(DENIED, {})),
    );
    expect(told.map(({ call, outcome }) => call?.destination.spiffeId?.path ?? outcome.reason)).toEqual([
      '/ns/shop/sa/catalog',
      '/ns/shop/sa/orders',
      'ambiguous_identity',
    ]);
  });

  test('names no rule where the engine would not have come to the same answer', async () => {
    const policies = new EnforcedPolicies(ca);
    await policies.enforce([DESTINATIONS.orders], { policies: [orders('p', { rules: [] })] });
    await send(policies, pod, http(httpEntry('via_upstream')));
    expect(told[0]?.outcome).toMatchObject({ verdict: 'allow', reason: 'allowed_by_proxy' });
    expect(told[0]?.outcome.decision).toBeUndefined();
  });

  test('has nothing to say of calls while there is no policy', async () => {
    await send(new EnforcedPolicies(ca), pod, http(httpEntry('via_upstream')));
    expect(told.map(({ call }) => call)).toEqual([undefined]);
  });

  test('takes in messages without entries, and with thousands of them', async () => {
    const policies = new EnforcedPolicies(ca);
    await policies.enforce([DESTINATIONS.orders], { policies: [] });
    const many = http(...Array.from({ length: 3_000 }, () => httpEntry(DENIED)));
    await send(policies, pod, create(StreamAccessLogsMessageSchema, {}), http(), many);
    expect(told.length).toBe(3_000);
  });
});

async function* streamOf(messages: readonly StreamAccessLogsMessage[]): AsyncGenerator<StreamAccessLogsMessage> {
  yield* messages;
}
