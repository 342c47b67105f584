// Requests to every RPC of the SPIRE server API: by callers who may and who may not, well-formed and not. What the
// published implementation answers is in `answers.json`.
import { id } from './world.ts';
import type { CallerName, World } from './world.ts';
import type { JsonMessage } from '../../support/spire-client.ts';

/** One call. */
export interface Probe {
  /** Unique within its method. */
  readonly name: string;
  readonly as: CallerName;
  /** Below `spire.api.server.`: `entry.v1.Entry/GetEntry`. */
  readonly method: string;
  /** One message, or several for a client that streams. */
  readonly requests: readonly JsonMessage[];
}

const callers: readonly CallerName[] = ['local', 'anonymous', 'workload', 'agent', 'admin', 'downstream', 'banned'];

/** Requests that change nothing and show who may call: an empty message is refused by whoever lets the caller in. */
const access: Readonly<Record<string, JsonMessage>> = {
  'agent.v1.Agent/CountAgents': {},
  'agent.v1.Agent/ListAgents': { pageSize: 1, outputMask: {} },
  'agent.v1.Agent/GetAgent': {},
  'agent.v1.Agent/DeleteAgent': {},
  'agent.v1.Agent/BanAgent': {},
  'agent.v1.Agent/AttestAgent': {},
  'agent.v1.Agent/RenewAgent': {},
  'agent.v1.Agent/CreateJoinToken': {},
  'agent.v1.Agent/PostStatus': {},
  'entry.v1.Entry/CountEntries': {},
  'entry.v1.Entry/ListEntries': { pageSize: 1, outputMask: {} },
  'entry.v1.Entry/GetEntry': {},
  'entry.v1.Entry/BatchCreateEntry': {},
  'entry.v1.Entry/BatchUpdateEntry': {},
  'entry.v1.Entry/BatchDeleteEntry': {},
  'entry.v1.Entry/GetAuthorizedEntries': { outputMask: {} },
  'entry.v1.Entry/SyncAuthorizedEntries': { outputMask: {} },
  'svid.v1.SVID/MintX509SVID': {},
  'svid.v1.SVID/MintJWTSVID': {},
  'svid.v1.SVID/MintWITSVID': {},
  'svid.v1.SVID/BatchNewX509SVID': {},
  'svid.v1.SVID/NewJWTSVID': {},
  'svid.v1.SVID/BatchNewWITSVID': {},
  'svid.v1.SVID/NewDownstreamX509CA': {},
  'bundle.v1.Bundle/CountBundles': {},
  'bundle.v1.Bundle/GetBundle': { outputMask: {} },
  'bundle.v1.Bundle/AppendBundle': {},
  'bundle.v1.Bundle/PublishJWTAuthority': {},
  'bundle.v1.Bundle/PublishWITAuthority': {},
  'bundle.v1.Bundle/ListFederatedBundles': {},
  'bundle.v1.Bundle/GetFederatedBundle': {},
  'bundle.v1.Bundle/BatchCreateFederatedBundle': {},
  'bundle.v1.Bundle/BatchUpdateFederatedBundle': {},
  'bundle.v1.Bundle/BatchSetFederatedBundle': {},
  'bundle.v1.Bundle/BatchDeleteFederatedBundle': {},
  'trustdomain.v1.TrustDomain/ListFederationRelationships': {},
  'trustdomain.v1.TrustDomain/GetFederationRelationship': {},
  'trustdomain.v1.TrustDomain/BatchCreateFederationRelationship': {},
  'trustdomain.v1.TrustDomain/BatchUpdateFederationRelationship': {},
  'trustdomain.v1.TrustDomain/BatchDeleteFederationRelationship': {},
  'trustdomain.v1.TrustDomain/RefreshBundle': {},
  'localauthority.v1.LocalAuthority/GetJWTAuthorityState': {},
  'localauthority.v1.LocalAuthority/ActivateJWTAuthority': {},
  'localauthority.v1.LocalAuthority/TaintJWTAuthority': {},
  'localauthority.v1.LocalAuthority/RevokeJWTAuthority': {},
  'localauthority.v1.LocalAuthority/GetX509AuthorityState': {},
  'localauthority.v1.LocalAuthority/ActivateX509Authority': {},
  'localauthority.v1.LocalAuthority/TaintX509Authority': {},
  'localauthority.v1.LocalAuthority/TaintX509UpstreamAuthority': {},
  'localauthority.v1.LocalAuthority/RevokeX509Authority': {},
  'localauthority.v1.LocalAuthority/RevokeX509UpstreamAuthority': {},
  'localauthority.v1.LocalAuthority/GetWITAuthorityState': {},
  'localauthority.v1.LocalAuthority/ActivateWITAuthority': {},
  'localauthority.v1.LocalAuthority/TaintWITAuthority': {},
  'localauthority.v1.LocalAuthority/RevokeWITAuthority': {},
  'logger.v1.Logger/GetLogger': {},
  'logger.v1.Logger/SetLogLevel': {},
  'logger.v1.Logger/ResetLogLevel': {},
  'debug.v1.Debug/GetInfo': {},
};

/** All probes, in the order in which they are to be made. */
export function probes(world: World): Probe[] {
  const byCaller = Object.entries(access).flatMap(([method, request]) =>
    callers.map((as): Probe => ({ name: `as ${as}`, as, method, requests: [request] })),
  );
  return [
    ...byCaller,
    ...agentProbes(world),
    ...entryProbes(world),
    ...svidProbes(world),
    ...bundleProbes(world),
    ...trustDomainProbes(world),
    ...authorityProbes(),
  ];
}

interface ProbeGroup {
  readonly as: CallerName;
  readonly method: string;
  readonly requests: Readonly<Record<string, JsonMessage | readonly JsonMessage[]>>;
}

function group({ as, method, requests }: ProbeGroup): Probe[] {
  return Object.entries(requests).map(([name, request]) => ({
    name,
    as,
    method,
    // A list is a stream of messages.
    requests: Array.isArray(request) ? request : [request as JsonMessage],
  }));
}

const badIds: Readonly<Record<string, JsonMessage>> = {
  'no trust domain': { path: '/web' },
  'another trust domain': { trustDomain: 'other.test', path: '/web' },
  'an upper-case trust domain': { trustDomain: 'Example.org', path: '/web' },
  'a path without a slash': id('web'),
  'an empty segment': id('/a//b'),
  'a trailing slash': id('/a/'),
  'a dot segment': id('/a/../b'),
  'an escape': id('/a%20b'),
  'a non-ASCII character': id('/ü'),
  'no path': { trustDomain: 'example.org' },
};

function withBadIds(make: (value: JsonMessage) => JsonMessage): Record<string, JsonMessage> {
  return Object.fromEntries(Object.entries(badIds).map(([name, value]) => [`an ID with ${name}`, make(value)]));
}

function agentProbes({ agentPath, csr }: World): Probe[] {
  const agentMethods = ['GetAgent', 'DeleteAgent', 'BanAgent'].flatMap((name) =>
    group({
      as: 'local',
      method: `agent.v1.Agent/${name}`,
      requests: {
        ...withBadIds((value) => ({ id: value })),
        'a workload ID': { id: id('/web') },
        'an agent that is not there': { id: id('/spire/agent/join_token/none') },
      },
    }),
  );
  const attest = (type: string, payload: string, request: string): JsonMessage => ({
    params: { data: { type, payload: Buffer.from(payload).toString('base64') }, params: { csr: request } },
  });
  return [
    ...agentMethods,
    ...group({
      as: 'local',
      method: 'agent.v1.Agent/GetAgent',
      requests: { 'an agent': { id: id(agentPath) }, 'a mask': { id: id(agentPath), outputMask: { selectors: true } } },
    }),
    ...group({
      as: 'local',
      method: 'agent.v1.Agent/ListAgents',
      requests: {
        'no filter': {},
        'a page token that is not one': { pageSize: 1, pageToken: 'nonsense' },
        'a negative page size': { pageSize: -1 },
        'by banned': { filter: { byBanned: true } },
        'by type': { filter: { byAttestationType: 'join_token' } },
        'by empty selectors': { filter: { bySelectorMatch: {} } },
        'by a selector without a type': { filter: { bySelectorMatch: { selectors: [{ value: 'x' }] } } },
        'by a time that is not one': { filter: { byExpiresBefore: 'tomorrow' } },
      },
    }),
    ...group({
      as: 'local',
      method: 'agent.v1.Agent/CreateJoinToken',
      requests: {
        'no lifetime': { token: 'x' },
        'a negative lifetime': { ttl: -1 },
        'a token of its own': { ttl: 60, token: 'probe-token' },
        'the same token again': { ttl: 60, token: 'probe-token' },
        'an ID': { ttl: 60, token: 'probe-token-with-id', agentId: id('/node') },
        'a foreign ID': { ttl: 60, agentId: { trustDomain: 'other.test', path: '/node' } },
        'a reserved ID': { ttl: 60, agentId: id('/spire/agent/x') },
      },
    }),
    ...group({
      as: 'anonymous',
      method: 'agent.v1.Agent/AttestAgent',
      requests: {
        'no data': { params: { params: { csr: csr.plain } } },
        'no parameters': { params: { data: { type: 'join_token', payload: 'eA==' } } },
        'no type': attest('', 'x', csr.plain),
        'no payload': attest('join_token', '', csr.plain),
        'no request': attest('join_token', 'probe-token', ''),
        'an unknown type': attest('unknown', 'x', csr.plain),
        'an unknown token': attest('join_token', 'unknown', csr.plain),
        'a request that is not one': attest('join_token', 'probe-token', csr.garbage),
        'a forged request': attest('join_token', 'probe-token', csr.tampered),
        'a response before any challenge': { challengeResponse: 'eA==' },
        'a token': attest('join_token', 'probe-token-with-id', csr.plain),
        'a used token': attest('join_token', 'probe-token-with-id', csr.plain),
      },
    }),
    ...group({
      as: 'agent',
      method: 'agent.v1.Agent/RenewAgent',
      requests: {
        'no request': { params: {} },
        'a request that is not one': { params: { csr: csr.garbage } },
        'a forged request': { params: { csr: csr.tampered } },
      },
    }),
    ...group({
      as: 'agent',
      method: 'agent.v1.Agent/PostStatus',
      requests: { 'a status': { currentBundleSerial: '1', agentVersion: '1' } },
    }),
  ];
}

function entryProbes({ agentPath }: World): Probe[] {
  const entry = (more: JsonMessage): JsonMessage => ({
    spiffeId: id('/probe'),
    parentId: id(agentPath),
    selectors: [{ type: 'unix', value: 'uid:4294967294' }],
    ...more,
  });
  const create = (more: JsonMessage): JsonMessage => ({ entries: [entry(more)] });
  const update = (more: JsonMessage, mask?: JsonMessage): JsonMessage => ({
    entries: [{ id: 'probe-web', ...more }],
    ...(mask === undefined ? {} : { inputMask: mask }),
  });
  const filters = (method: string): Probe[] =>
    group({
      as: 'local',
      method: `entry.v1.Entry/${method}`,
      requests: {
        ...withBadIds((value) => ({ filter: { bySpiffeId: value } })),
        'by an ID': { filter: { bySpiffeId: id('/web') } },
        'by a parent': { filter: { byParentId: id(agentPath) } },
        'by a foreign parent': { filter: { byParentId: { trustDomain: 'other.test', path: '/a' } } },
        'by no selectors': { filter: { bySelectors: {} } },
        'by a selector': {
          filter: { bySelectors: { match: 'MATCH_ANY', selectors: [{ type: 'unix', value: 'user:probe-web' }] } },
        },
        'by a selector without a type': { filter: { bySelectors: { selectors: [{ value: 'x' }] } } },
        'by a selector whose type has a colon': { filter: { bySelectors: { selectors: [{ type: 'a:b', value: 'x' }] } } },
        'by a selector without a value': { filter: { bySelectors: { selectors: [{ type: 'unix' }] } } },
        'by no trust domains': { filter: { byFederatesWith: {} } },
        'by a bad trust domain': { filter: { byFederatesWith: { trustDomains: ['not a domain'] } } },
        'by hint': { filter: { byHint: 'internal' } },
        'by downstream': { filter: { byDownstream: true } },
      },
    });
  return [
    ...filters('CountEntries'),
    ...filters('ListEntries'),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/ListEntries',
      requests: {
        'a page': { pageSize: 2, outputMask: { spiffeId: true } },
        'a page token that is not one': { pageSize: 2, pageToken: 'nonsense' },
        'a negative page size': { pageSize: -1, outputMask: {} },
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/GetEntry',
      requests: {
        'an entry': { id: 'probe-web' },
        'a mask': { id: 'probe-web', outputMask: { hint: true } },
        'an unknown entry': { id: 'none' },
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/BatchCreateEntry',
      requests: {
        ...withBadIds((value) => create({ spiffeId: value })),
        'an empty entry': { entries: [{}] },
        'no parent': create({ parentId: undefined }),
        'a foreign parent': create({ parentId: { trustDomain: 'other.test', path: '/a' } }),
        'no selectors': create({ selectors: [] }),
        'a selector without a type': create({ selectors: [{ value: 'x' }] }),
        'a selector whose type has a colon': create({ selectors: [{ type: 'a:b', value: 'x' }] }),
        'a selector without a value': create({ selectors: [{ type: 'unix' }] }),
        'a reserved ID': create({ spiffeId: id('/spire/x') }),
        'a DNS name with an empty label': create({ dnsNames: ['a..example.org'] }),
        'a DNS name in upper case': create({ spiffeId: id('/upper'), dnsNames: ['A.example.org'] }),
        'a DNS name with two wildcards': create({ dnsNames: ['*.*.example.org'] }),
        'a DNS name with a wildcard': create({ spiffeId: id('/wild'), dnsNames: ['*.example.org'] }),
        'a bad DNS name': create({ spiffeId: id('/bad-dns'), dnsNames: ['not a name'] }),
        'an underscore in a DNS name': create({ spiffeId: id('/underscore'), dnsNames: ['a_b.example.org'] }),
        'a negative lifetime': create({ x509SvidTtl: -1 }),
        'a negative JWT lifetime': create({ jwtSvidTtl: -1 }),
        'an unknown federated trust domain': create({ spiffeId: id('/fed'), federatesWith: ['unknown.test'] }),
        'a bad federated trust domain': create({ federatesWith: ['not a domain'] }),
        'a bad entry ID': create({ id: 'no/slashes' }),
        'a very long entry ID': create({ id: 'x'.repeat(256) }),
        'a negative expiry': create({ spiffeId: id('/negative-expiry'), expiresAt: '-1' }),
        'an entry': create({ id: 'probe-created' }),
        'the same entry again': create({ id: 'probe-created-again' }),
        'an entry ID in use': create({ id: 'probe-created', spiffeId: id('/other') }),
        'one good and one bad': {
          entries: [entry({ spiffeId: id('/good'), id: 'probe-good' }), entry({ spiffeId: id('bad') })],
          outputMask: { spiffeId: true },
        },
        'a node alias': create({ id: 'probe-alias', spiffeId: id('/alias'), parentId: id('/spire/server') }),
        'all fields': create({
          id: 'probe-full',
          spiffeId: id('/full'),
          admin: true,
          downstream: true,
          storeSvid: false,
          hint: 'external',
          dnsNames: ['full.example.org'],
          x509SvidTtl: 60,
          jwtSvidTtl: 30,
          expiresAt: '4102444800',
          additionalAttributes: { disableX509SvidPrefetch: true, jwtSvidIncludeJti: true },
        }),
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/BatchUpdateEntry',
      requests: {
        'an unknown entry': { entries: [entry({ id: 'none' })] },
        'no entry ID': { entries: [entry({})] },
        'one field': update({ hint: 'changed' }, { hint: true }),
        'an empty mask': update({ hint: 'ignored' }, {}),
        'no mask and missing fields': update({ hint: 'x' }),
        'a bad ID': update({ spiffeId: id('bad') }, { spiffeId: true }),
        'a reserved ID': update({ spiffeId: id('/spire/x') }, { spiffeId: true }),
        'no selectors': update({ selectors: [] }, { selectors: true }),
        'an unknown federated trust domain': update({ federatesWith: ['unknown.test'] }, { federatesWith: true }),
        'what another entry is': { entries: [{ ...entry({}), id: 'probe-web' }], outputMask: {} },
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/BatchDeleteEntry',
      requests: { 'known, unknown and empty': { ids: ['probe-created', 'none', ''] } },
    }),
    ...group({
      as: 'agent',
      method: 'entry.v1.Entry/GetAuthorizedEntries',
      requests: { 'a mask': { outputMask: { spiffeId: true, parentId: true, selectors: true } }, 'no mask': {} },
    }),
    ...group({
      as: 'agent',
      method: 'entry.v1.Entry/SyncAuthorizedEntries',
      requests: {
        'IDs in the first message': [{ ids: ['probe-web'] }],
        'no mask': [{}],
        'a wrong mask': [{ outputMask: { spiffeId: true } }],
        'an ID that is not authorized': [{}, { ids: ['probe-elsewhere'] }],
        'a mask in the second message': [{}, { outputMask: { spiffeId: true }, ids: ['probe-admin'] }],
      },
    }),
  ];
}

function svidProbes({ csr, publicKey }: World): Probe[] {
  const csrs = (make: (value: string) => JsonMessage): Record<string, JsonMessage> =>
    Object.fromEntries(Object.entries(csr).map(([name, value]) => [`a request: ${name}`, make(value)]));
  return [
    ...group({
      as: 'local',
      method: 'svid.v1.SVID/MintX509SVID',
      requests: {
        ...csrs((value) => ({ csr: value })),
        'a negative lifetime': { csr: csr.web, ttl: -1 },
        'a lifetime of ten years': { csr: csr.web, ttl: 315_360_000 },
      },
    }),
    ...group({
      as: 'local',
      method: 'svid.v1.SVID/MintJWTSVID',
      requests: {
        ...withBadIds((value) => ({ id: value, audience: ['a'] })),
        'an ID': { id: id('/web'), audience: ['a'] },
        'no audience': { id: id('/web') },
        'an empty audience': { id: id('/web'), audience: [''] },
        'an empty audience among others': { id: id('/web'), audience: ['', 'b'] },
        'a reserved ID': { id: id('/spire/agent/x'), audience: ['a'] },
        'a negative lifetime': { id: id('/web'), audience: ['a'], ttl: -1 },
      },
    }),
    ...group({
      as: 'local',
      method: 'svid.v1.SVID/MintWITSVID',
      requests: {
        ...withBadIds((value) => ({ id: value, publicKey, signingAlgorithm: 'ES256' })),
        'an ID': { id: id('/web'), publicKey, signingAlgorithm: 'ES256' },
        'no key': { id: id('/web'), signingAlgorithm: 'ES256' },
        'a key that is not one': { id: id('/web'), publicKey: 'eA==', signingAlgorithm: 'ES256' },
        'no algorithm': { id: id('/web'), publicKey },
        'an unknown algorithm': { id: id('/web'), publicKey, signingAlgorithm: 'XX' },
        'an algorithm of another key type': { id: id('/web'), publicKey, signingAlgorithm: 'RS256' },
        'a symmetric algorithm': { id: id('/web'), publicKey, signingAlgorithm: 'HS256' },
      },
    }),
    ...group({
      as: 'agent',
      method: 'svid.v1.SVID/BatchNewX509SVID',
      requests: {
        ...csrs((value) => ({ params: [{ entryId: 'probe-web', csr: value }] })),
        'an empty item': { params: [{}] },
        'no request': { params: [{ entryId: 'probe-web' }] },
        'an unknown entry': { params: [{ entryId: 'none', csr: csr.plain }] },
        'an entry that is not authorized': { params: [{ entryId: 'probe-elsewhere', csr: csr.plain }] },
        'one good and one bad': {
          params: [
            { entryId: 'probe-web', csr: csr.plain },
            { entryId: 'none', csr: csr.plain },
          ],
        },
      },
    }),
    ...group({
      as: 'agent',
      method: 'svid.v1.SVID/NewJWTSVID',
      requests: {
        'an entry': { entryId: 'probe-web', audience: ['a'] },
        'no audience': { entryId: 'probe-web' },
        'an empty audience': { entryId: 'probe-web', audience: [''] },
        'no entry': { audience: ['a'] },
        'an unknown entry': { entryId: 'none', audience: ['a'] },
        'an entry that is not authorized': { entryId: 'probe-elsewhere', audience: ['a'] },
      },
    }),
    ...group({
      as: 'agent',
      method: 'svid.v1.SVID/BatchNewWITSVID',
      requests: {
        'an entry': { params: [{ entryId: 'probe-web', publicKey, signingAlgorithm: 'ES256' }] },
        'no algorithm': { params: [{ entryId: 'probe-web', publicKey }] },
        'no key': { params: [{ entryId: 'probe-web', signingAlgorithm: 'ES256' }] },
        'an unknown entry': { params: [{ entryId: 'none', publicKey, signingAlgorithm: 'ES256' }] },
        'an empty item': { params: [{}] },
      },
    }),
    ...group({
      as: 'downstream',
      method: 'svid.v1.SVID/NewDownstreamX509CA',
      requests: {
        'a plain request': { csr: csr.plain },
        'the trust domain': { csr: csr.trustDomainOnly },
        'a path': { csr: csr.web },
        'a foreign trust domain': { csr: csr.foreign },
        'a forged request': { csr: csr.tampered },
        'a request that is not one': { csr: csr.garbage },
        'a lifetime': { csr: csr.trustDomainOnly, preferredTtl: 60 },
      },
    }),
  ];
}

function bundleProbes({ authority, publicKey }: World): Probe[] {
  const foreign = (more: JsonMessage = {}): JsonMessage => ({
    trustDomain: 'federated.test',
    x509Authorities: [{ asn1: authority }],
    ...more,
  });
  const badBundles: Record<string, JsonMessage> = {
    'no trust domain': { x509Authorities: [{ asn1: authority }] },
    'a bad trust domain': foreign({ trustDomain: 'not a domain' }),
    'the own trust domain': foreign({ trustDomain: 'example.org' }),
    'a certificate that is not one': foreign({ x509Authorities: [{ asn1: 'eA==' }] }),
    'an empty certificate': foreign({ trustDomain: 'empty.test', x509Authorities: [{}] }),
    'a key without an ID': foreign({ jwtAuthorities: [{ publicKey }] }),
    'a key that is not one': foreign({ jwtAuthorities: [{ publicKey: 'eA==', keyId: 'k' }] }),
    'a negative refresh hint': foreign({ trustDomain: 'negative.test', refreshHint: '-1' }),
  };
  const batches = ['BatchCreateFederatedBundle', 'BatchSetFederatedBundle', 'BatchUpdateFederatedBundle'].flatMap((name) =>
    group({
      as: 'local',
      method: `bundle.v1.Bundle/${name}`,
      requests: {
        ...Object.fromEntries(Object.entries(badBundles).map(([what, bundle]) => [what, { bundle: [bundle] }])),
        'a bundle': {
          bundle: [foreign({ refreshHint: '60', sequenceNumber: '7', jwtAuthorities: [{ publicKey, keyId: 'k' }] })],
        },
        'the same bundle again': { bundle: [foreign()], outputMask: { x509Authorities: true } },
        'an unknown bundle': { bundle: [foreign({ trustDomain: `${name.toLowerCase()}.test` })], outputMask: {} },
      },
    }),
  );
  return [
    ...batches,
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/GetFederatedBundle',
      requests: {
        'a bundle': { trustDomain: 'federated.test' },
        'an unknown bundle': { trustDomain: 'unknown.test' },
        'the own trust domain': { trustDomain: 'example.org' },
        'a bad trust domain': { trustDomain: 'not a domain' },
      },
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/GetBundle',
      requests: { 'a mask': { outputMask: { sequenceNumber: true } } },
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/ListFederatedBundles',
      requests: {
        'a page': { pageSize: 1, outputMask: {} },
        'a page token that is not one': { pageSize: 1, pageToken: 'nonsense' },
      },
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/AppendBundle',
      requests: {
        'a certificate that is not one': { x509Authorities: [{ asn1: 'eA==' }] },
        'a key without an ID': { jwtAuthorities: [{ publicKey }] },
        'a certificate that is there': { x509Authorities: [{ asn1: authority }], outputMask: {} },
        'a key': { jwtAuthorities: [{ publicKey, keyId: 'probe', expiresAt: '4102444800' }], outputMask: {} },
      },
    }),
    ...['PublishJWTAuthority', 'PublishWITAuthority'].flatMap((name) => {
      const field = name === 'PublishJWTAuthority' ? 'jwtAuthority' : 'witAuthority';
      return group({
        as: 'downstream',
        method: `bundle.v1.Bundle/${name}`,
        requests: {
          'a key without an ID': { [field]: { publicKey } },
          'a key that is not one': { [field]: { publicKey: 'eA==', keyId: 'k' } },
          'a key': { [field]: { publicKey, keyId: `probe-${field}`, expiresAt: '4102444800' } },
        },
      });
    }),
    ...group({
      as: 'local',
      method: 'bundle.v1.Bundle/BatchDeleteFederatedBundle',
      requests: {
        'unknown, own and bad': { trustDomains: ['unknown.test', 'example.org', 'not a domain'] },
        'a bundle': { trustDomains: ['federated.test'] },
      },
    }),
  ];
}

function trustDomainProbes({ authority }: World): Probe[] {
  const relationship = (more: JsonMessage = {}): JsonMessage => ({
    trustDomain: 'related.test',
    bundleEndpointUrl: 'https://related.test/bundle',
    httpsWeb: {},
    ...more,
  });
  const bad: Record<string, JsonMessage> = {
    'no trust domain': relationship({ trustDomain: '' }),
    'a bad trust domain': relationship({ trustDomain: 'not a domain' }),
    'the own trust domain': relationship({ trustDomain: 'example.org' }),
    'no URL': relationship({ bundleEndpointUrl: '' }),
    'an http URL': relationship({ bundleEndpointUrl: 'http://related.test/bundle' }),
    'a URL with user information': relationship({ bundleEndpointUrl: 'https://user:secret@related.test/bundle' }),
    'a URL without a host': relationship({ bundleEndpointUrl: 'https:///bundle' }),
    'no profile': relationship({ httpsWeb: undefined }),
    'a SPIFFE profile without an ID': relationship({ httpsWeb: undefined, httpsSpiffe: {} }),
    'a SPIFFE profile with a bad ID': relationship({ httpsWeb: undefined, httpsSpiffe: { endpointSpiffeId: 'https://x' } }),
    'a bundle of another trust domain': relationship({
      trustDomainBundle: { trustDomain: 'x.test', x509Authorities: [{ asn1: authority }] },
    }),
  };
  const batches = ['BatchCreateFederationRelationship', 'BatchUpdateFederationRelationship'].flatMap((name) =>
    group({
      as: 'local',
      method: `trustdomain.v1.TrustDomain/${name}`,
      requests: {
        ...Object.fromEntries(Object.entries(bad).map(([what, each]) => [what, { federationRelationships: [each] }])),
        'a relationship': { federationRelationships: [relationship()] },
        'the same again': { federationRelationships: [relationship()], outputMask: {} },
        'a SPIFFE profile': {
          federationRelationships: [
            relationship({
              trustDomain: 'spiffe.test',
              httpsWeb: undefined,
              httpsSpiffe: { endpointSpiffeId: 'spiffe://spiffe.test/endpoint' },
              trustDomainBundle: { trustDomain: 'spiffe.test', x509Authorities: [{ asn1: authority }] },
            }),
          ],
        },
        'an unknown one': {
          federationRelationships: [relationship({ trustDomain: `${name.toLowerCase()}.test` })],
          outputMask: {},
        },
      },
    }),
  );
  const named: Record<string, JsonMessage> = {
    'a relationship': { trustDomain: 'related.test' },
    'an unknown one': { trustDomain: 'unknown.test' },
    'a bad trust domain': { trustDomain: 'not a domain' },
  };
  return [
    ...batches,
    ...group({ as: 'local', method: 'trustdomain.v1.TrustDomain/GetFederationRelationship', requests: named }),
    ...group({
      as: 'local',
      method: 'trustdomain.v1.TrustDomain/ListFederationRelationships',
      requests: {
        'a page': { pageSize: 1, outputMask: {} },
        'a page token that is not one': { pageSize: 1, pageToken: 'nonsense' },
      },
    }),
    ...group({
      as: 'local',
      method: 'trustdomain.v1.TrustDomain/RefreshBundle',
      requests: { 'an unknown one': { trustDomain: 'unknown.test' }, 'a bad trust domain': { trustDomain: 'not a domain' } },
    }),
    ...group({
      as: 'local',
      method: 'trustdomain.v1.TrustDomain/BatchDeleteFederationRelationship',
      requests: { 'known, unknown and bad': { trustDomains: ['related.test', 'unknown.test', 'not a domain'] } },
    }),
  ];
}

/** Authorities by IDs that are not there, before and after one is prepared. */
function authorityProbes(): Probe[] {
  const unknown: Record<string, JsonMessage> = { 'an unknown authority': { authorityId: 'none' } };
  const kinds = ['JWT', 'X509', 'WIT'].flatMap((kind) => {
    const method = (name: string): string => `localauthority.v1.LocalAuthority/${name}${kind}Authority`;
    return [
      ...['Activate', 'Taint', 'Revoke'].flatMap((name) => group({ as: 'local', method: method(name), requests: unknown })),
      ...group({ as: 'local', method: method('Prepare'), requests: { 'the next authority': {}, 'once more': {} } }),
      ...['Activate', 'Taint', 'Revoke'].flatMap((name) =>
        group({
          as: 'local',
          method: method(name),
          requests: { 'an unknown authority beside a prepared one': { authorityId: 'none' } },
        }),
      ),
    ];
  });
  const upstream = ['TaintX509UpstreamAuthority', 'RevokeX509UpstreamAuthority'].flatMap((name) =>
    group({
      as: 'local',
      method: `localauthority.v1.LocalAuthority/${name}`,
      requests: { 'an unknown authority': { subjectKeyId: '00' } },
    }),
  );
  return [
    ...kinds,
    ...upstream,
    ...group({
      as: 'local',
      method: 'logger.v1.Logger/SetLogLevel',
      requests: { 'a level': { newLevel: 'DEBUG' }, 'an unknown level': { newLevel: 42 } },
    }),
  ];
}
