// Every RPC of the CA and the agent, as processes, with what no honest client sends. Each gets a status and a text; afterwards
// both processes serve, have no more files open than before, and their logs know none of the secrets that were sent.
import { createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACCESS_TABLE } from '../../ca/api/access-table.ts';
import { Diagnosis } from '../../proto/gen/countersign/agent/v1/agent_pb.ts';
import { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { Health } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { SpiffeWorkloadAPI } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { Debug } from '../../proto/gen/spire/api/agent/debug/v1/debug_pb.ts';
import { DelegatedIdentity } from '../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { Agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { TrustDomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { callRpc, LOCAL_RPCS, REMOTE_RPCS, rpcsOf, type Rpc } from '../support/every-rpc.ts';
import { hostileMessage, seededChoice } from '../support/hostile-messages.ts';
import { grpcFrame, rawCall, rawTls, rawUnix } from '../support/raw-rpc.ts';
import { failureOf } from '../support/rpc-failure.ts';
import type { ClientIdentity } from '../support/running-ca.ts';
import { attestByToken } from '../support/test-agent.ts';
import { TestCa } from '../support/test-ca.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';
import { own, OWN_SELECTOR, WholeSystem } from '../support/whole-system.ts';
import { WORKLOAD_HEADERS } from '../support/workload.ts';

const AGENT_RPCS = rpcsOf([SpiffeWorkloadAPI, SecretDiscoveryService, Health, ServerReflection]);
const AGENT_ADMIN_RPCS = rpcsOf([DelegatedIdentity, Debug, Diagnosis]);
const INVALID = 3;
const RESOURCE_EXHAUSTED = 8;

let system: WholeSystem;
/** An agent of the test's own, for what only agents may call. */
let agent: ClientIdentity & { readonly path: string; readonly token: string };
let downstream: ClientIdentity;
let foreign: TestCa;
const secrets: string[] = [];
let openFiles: readonly number[] = [];

beforeAll(async () => {
  system = await WholeSystem.start({ logLevel: 'trace' });
  agent = await system.attest();
  foreign = TestCa.create({ trustDomain: 'foreign.example' });
  const bundle = {
    trustDomain: 'foreign.example',
    x509Authorities: [{ asn1: foreign.root.der }],
    jwtAuthorities: [{ keyId: foreign.jwtKeyId, publicKey: foreign.jwtKey.spki }],
  };
  await system.admin(Bundle).batchSetFederatedBundle({ bundle: [bundle] });
  await system.register({ spiffeId: own('/federated'), federatesWith: ['foreign.example'] });
  const below = { spiffeId: own('/below'), parentId: own('/x'), selectors: [OWN_SELECTOR], downstream: true };
  await system.admin(Entry).batchCreateEntry({ entries: [below] });
  downstream = await system.mint('/below');
  await failureOf(callRpc(system.connect(system.workloadSocket), AGENT_RPCS[0] as Rpc, {}, { headers: WORKLOAD_HEADERS }));
  system.closeClients();
  openFiles = [await system.ca.settledFiles(), (await system.agent?.settledFiles()) ?? 0];
});
afterAll(() => system[Symbol.asyncDispose]());

/** On which connection an RPC can be called at all. */
function connectFor({ path }: Rpc): GrpcConnection {
  if (AGENT_RPCS.some((rpc) => rpc.path === path) && !path.startsWith('grpc.health'))
    return system.connect(system.workloadSocket);
  if (AGENT_ADMIN_RPCS.some((rpc) => rpc.path === path)) return system.connect(system.agentAdminSocket);
  const roles = ACCESS_TABLE.get(`/${path}`);
  if (roles?.has('local') === true || roles?.has('anyone') === true) return system.connect(system.caSocket);
  return system.remote(roles?.has('downstream') === true ? downstream : agent);
}

const everything = [
  ...REMOTE_RPCS,
  ...LOCAL_RPCS,
  ...AGENT_RPCS.filter(({ path }) => !path.startsWith('grpc.health')),
  ...AGENT_ADMIN_RPCS,
];
const rows = everything.map((rpc) => [rpc.path, rpc] as const);
const json = (value: unknown): string =>
  JSON.stringify(value ?? {}, (_key, each: unknown) => (typeof each === 'bigint' ? each.toString() : each));

describe('every RPC', () => {
  test.each(rows)('[bad input] %s: random fields get a status of their own', async (_path, rpc) => {
    const connection = connectFor(rpc);
    for (let seed = 100; seed < 115; seed += 1) {
      const request = hostileMessage(rpc.method.input, seededChoice(seed));
      const options = { headers: WORKLOAD_HEADERS, timeoutMs: 1_500 };
      const failure = await failureOf(
        callRpc(connection, rpc, request, options).then((answer) => expect(json(answer)).not.toContain('internal error')),
      );
      // This text stands for an exception that nobody foresaw.
      expect(`${failure.code}: ${failure.message}`).not.toMatch(/internal error|^[^o].*: $/);
    }
    connection[Symbol.dispose]();
  });

  test('[bad input] a message of ten megabytes, and bytes that are no message, are refused', async () => {
    const sessions = {
      local: rawUnix(system.caSocket),
      agent: rawTls(system.grpcPort, agent),
      downstream: rawTls(system.grpcPort, downstream),
      workload: rawUnix(system.workloadSocket),
      admin: rawUnix(system.agentAdminSocket),
    };
    const sessionFor = ({ path }: Rpc) => {
      if (AGENT_ADMIN_RPCS.some((rpc) => rpc.path === path)) return sessions.admin;
      if (AGENT_RPCS.some((rpc) => rpc.path === path) && !path.startsWith('grpc.health')) return sessions.workload;
      const roles = ACCESS_TABLE.get(`/${path}`);
      if (roles?.has('local') === true || roles?.has('anyone') === true) return sessions.local;
      return roles?.has('downstream') === true ? sessions.downstream : sessions.agent;
    };
    const large = grpcFrame(new Uint8Array(10_000_000));
    const wrong: string[] = [];
    for (const rpc of everything) {
      const tooLarge = await rawCall(sessionFor(rpc), rpc.path, large, WORKLOAD_HEADERS);
      if (tooLarge.code !== RESOURCE_EXHAUSTED || !tooLarge.message.includes('10000000'))
        wrong.push(`${rpc.path}: ${json(tooLarge)}`);
      for (const body of [
        Buffer.from([0, 0, 0, 0, 4, 1, 2]),
        grpcFrame(Buffer.from([0x0a, 0xff, 0xff])),
        grpcFrame(randomBytes(300)),
      ]) {
        const { code, message } = await rawCall(sessionFor(rpc), rpc.path, body, WORKLOAD_HEADERS);
        // Random bytes may happen to be a message of unknown fields.
        if (code === -1 || message.includes('internal error')) wrong.push(`${rpc.path}: ${code} ${message}`);
      }
    }
    for (const session of Object.values(sessions)) session.destroy();
    expect(wrong).toEqual([]);
  });

  test.each(rpcsOf([SpiffeWorkloadAPI]).map((rpc) => [rpc.path, rpc] as const))(
    '[bad input] %s without the security header gets INVALID_ARGUMENT',
    async (path) => {
      const session = rawUnix(system.workloadSocket);
      for (const headers of [
        {},
        { 'workload.spiffe.io': 'false' },
        { 'workload.spiffe.io': 'TRUE' },
        { 'workload.spiffe.io': '' },
      ]) {
        const status = await rawCall(session, path, grpcFrame(new Uint8Array()), headers);
        expect(status).toMatchObject({ code: INVALID });
        expect(status.message).toContain('security header');
      }
      session.destroy();
    },
  );
});

const PATHS = [
  '/a/../b',
  '/..',
  '/.',
  '/a/./b',
  '/%2e%2e',
  '/a%2fb',
  '//',
  '//a',
  '/a//b',
  '/a/',
  '/',
  '/a b',
  '/ü',
  '/a\0',
  '/a?x=1',
  '/a#f',
  '/a:b',
  '/a@b',
  '/a\\b',
  `/${'a'.repeat(2048)}`,
];
const DOMAINS = [
  'EXAMPLE.org',
  'example.org:80',
  'user@example.org',
  'user:secret@example.org',
  'example.org/x',
  'ex ample',
  'ex%61mple.org',
  'exämple.org',
  '[::1]',
  'a'.repeat(256),
  'spiffe://example.org:80',
  'spiffe://',
  'https://example.org',
  'example.org\0',
  'example.org?x',
  'example.org#f',
];
const IDS = [
  ...PATHS.filter((path) => path !== '/').map((path) => `spiffe://example.org${path}`),
  'spiffe://example.org:80/a',
  'spiffe://user@example.org/a',
  'spiffe://user:secret@example.org/a',
  'spiffe:///a',
  'spiffe:/example.org/a',
  'https://example.org/a',
  'example.org/a',
  '/a',
  'spiffe://EXAMPLE.org/a',
  'spiffe://example.org/a\n',
  ' spiffe://example.org/a',
  'spiffe://example.org\\a',
  'spiffe://[::1]/a',
];

type WireId = { readonly trustDomain: string; readonly path: string };

/** A field that takes an ID in two parts: a call that puts it there. */
interface IdField {
  readonly name: string;
  readonly call: (id: WireId) => Promise<unknown>;
}

describe('a SPIFFE ID', () => {
  const id = own('/fine');
  const selectors = [OWN_SELECTOR];
  let connections: { readonly local: GrpcConnection; readonly workload: GrpcConnection };
  beforeAll(() => {
    connections = { local: system.connect(system.caSocket), workload: system.connect(system.workloadSocket) };
  });
  const entry = () => connections.local.client(Entry);
  const agents = () => connections.local.client(Agent);
  const svid = () => connections.local.client(SVID);

  const idFields: readonly IdField[] = [
    {
      name: 'BatchCreateEntry spiffe_id',
      call: (bad) => entry().batchCreateEntry({ entries: [{ spiffeId: bad, parentId: id, selectors }] }),
    },
    {
      name: 'BatchCreateEntry parent_id',
      call: (bad) => entry().batchCreateEntry({ entries: [{ spiffeId: id, parentId: bad, selectors }] }),
    },
    {
      name: 'BatchUpdateEntry spiffe_id',
      call: (bad) => entry().batchUpdateEntry({ entries: [{ id: 'x', spiffeId: bad }], inputMask: { spiffeId: true } }),
    },
    {
      name: 'BatchUpdateEntry parent_id',
      call: (bad) => entry().batchUpdateEntry({ entries: [{ id: 'x', parentId: bad }], inputMask: { parentId: true } }),
    },
    { name: 'ListEntries by_spiffe_id', call: (bad) => entry().listEntries({ filter: { bySpiffeId: bad } }) },
    { name: 'ListEntries by_parent_id', call: (bad) => entry().listEntries({ filter: { byParentId: bad } }) },
    { name: 'CountEntries by_spiffe_id', call: (bad) => entry().countEntries({ filter: { bySpiffeId: bad } }) },
    { name: 'CountEntries by_parent_id', call: (bad) => entry().countEntries({ filter: { byParentId: bad } }) },
    { name: 'GetAgent id', call: (bad) => agents().getAgent({ id: bad }) },
    { name: 'DeleteAgent id', call: (bad) => agents().deleteAgent({ id: bad }) },
    { name: 'BanAgent id', call: (bad) => agents().banAgent({ id: bad }) },
    { name: 'CreateJoinToken agent_id', call: (bad) => agents().createJoinToken({ ttl: 60, agentId: bad }) },
    { name: 'MintJWTSVID id', call: (bad) => svid().mintJWTSVID({ id: bad, audience: ['a'] }) },
    { name: 'MintWITSVID id', call: (bad) => svid().mintWITSVID({ id: bad, publicKey: createTestKey().spki }) },
  ];

  test.each(idFields.map((field) => [field.name, field] as const))(
    '[bad input] is read strictly in %s',
    async (_name, { call }) => {
      const ids = [
        ...PATHS.map(own),
        ...DOMAINS.map((trustDomain) => ({ trustDomain, path: '/a' })),
        own('a'),
        { trustDomain: '', path: '/a' },
      ];
      const accepted: string[] = [];
      for (const bad of ids) {
        const { code, message } = await outcomeOf(call(bad));
        if (code !== 'invalid_argument' || message === '') accepted.push(`${json(bad).slice(0, 80)}: ${code} ${message}`);
      }
      expect(accepted).toEqual([]);
    },
  );

  const domainFields: readonly (readonly [string, (name: string) => Promise<unknown>])[] = [
    ['GetFederatedBundle', (trustDomain) => connections.local.client(Bundle).getFederatedBundle({ trustDomain })],
    [
      'BatchCreateFederatedBundle',
      (trustDomain) => connections.local.client(Bundle).batchCreateFederatedBundle({ bundle: [{ trustDomain }] }),
    ],
    [
      'BatchUpdateFederatedBundle',
      (trustDomain) => connections.local.client(Bundle).batchUpdateFederatedBundle({ bundle: [{ trustDomain }] }),
    ],
    [
      'BatchSetFederatedBundle',
      (trustDomain) => connections.local.client(Bundle).batchSetFederatedBundle({ bundle: [{ trustDomain }] }),
    ],
    [
      'BatchDeleteFederatedBundle',
      (trustDomain) => connections.local.client(Bundle).batchDeleteFederatedBundle({ trustDomains: [trustDomain] }),
    ],
    [
      'BatchCreateEntry federates_with',
      (name) => entry().batchCreateEntry({ entries: [{ spiffeId: id, parentId: id, selectors, federatesWith: [name] }] }),
    ],
    ['ListEntries by_federates_with', (name) => entry().listEntries({ filter: { byFederatesWith: { trustDomains: [name] } } })],
    [
      'GetFederationRelationship',
      (trustDomain) => connections.local.client(TrustDomain).getFederationRelationship({ trustDomain }),
    ],
    ['RefreshBundle', (trustDomain) => connections.local.client(TrustDomain).refreshBundle({ trustDomain })],
    [
      'BatchDeleteFederationRelationship',
      (name) => connections.local.client(TrustDomain).batchDeleteFederationRelationship({ trustDomains: [name] }),
    ],
    [
      'BatchCreateFederationRelationship',
      (trustDomain) =>
        connections.local.client(TrustDomain).batchCreateFederationRelationship({
          federationRelationships: [
            { trustDomain, bundleEndpointUrl: 'https://a.example', bundleEndpointProfile: { case: 'httpsWeb', value: {} } },
          ],
        }),
    ],
  ];
  test.each(domainFields)('[bad input] has a trust domain that is read strictly in %s', async (_name, call) => {
    const accepted: string[] = [];
    for (const bad of ['', ...DOMAINS]) {
      const { code, message } = await outcomeOf(call(bad));
      if (code !== 'invalid_argument' || message === '') accepted.push(`${bad.slice(0, 80)}: ${code} ${message}`);
    }
    expect(accepted).toEqual([]);
  });

  const textFields: readonly (readonly [string, (id: string) => Promise<unknown>])[] = [
    [
      'FetchJWTSVID',
      (spiffeId) =>
        connections.workload.client(SpiffeWorkloadAPI).fetchJWTSVID({ spiffeId, audience: ['a'] }, { headers: WORKLOAD_HEADERS }),
    ],
    [
      'FetchWITSVID',
      (spiffeId) =>
        first(connections.workload.client(SpiffeWorkloadAPI).fetchWITSVID({ spiffeId }, { headers: WORKLOAD_HEADERS })),
    ],
    ['MintX509SVID, in the CSR', (uri) => svid().mintX509SVID({ csr: createTestCsr({ uris: [uri] }) })],
    [
      'BatchCreateFederationRelationship endpoint_spiffe_id',
      (endpointSpiffeId) =>
        connections.local.client(TrustDomain).batchCreateFederationRelationship({
          federationRelationships: [
            {
              trustDomain: 'a.example',
              bundleEndpointUrl: 'https://a.example',
              bundleEndpointProfile: { case: 'httpsSpiffe', value: { endpointSpiffeId } },
            },
          ],
        }),
    ],
    ['ValidateJWTSVID, as sub', (sub) => validate(foreign.signJwt({ sub: sub.replace('example.org', 'foreign.example') }))],
  ];
  test.each(textFields)('[bad input] is read strictly in %s', async (_name, call) => {
    const accepted: string[] = [];
    for (const bad of IDS) {
      const { code, message } = await outcomeOf(call(bad));
      if (code !== 'invalid_argument' || message === '') accepted.push(`${bad.slice(0, 80)}: ${code} ${message}`);
    }
    expect(accepted).toEqual([]);
  });
});

async function first(stream: AsyncIterable<unknown>): Promise<unknown> {
  for await (const answer of stream) return answer;
  return undefined;
}

/** How a call failed, or the one item of its batch. */
async function outcomeOf(call: Promise<unknown>): Promise<{ readonly code: string; readonly message: string }> {
  let item: { code: number; message: string } | undefined;
  const failure = await failureOf(
    call.then((answer) => {
      // The cast is sound: all batch responses have this shape, others no results.
      item = (answer as { results?: { status?: { code: number; message: string } }[] }).results?.[0]?.status;
    }),
  );
  if (item === undefined || item.code === 0) return failure;
  return { code: item.code === INVALID ? 'invalid_argument' : `item ${item.code}`, message: item.message };
}

function validate(token: string): Promise<unknown> {
  const client = system.connect(system.workloadSocket).client(SpiffeWorkloadAPI);
  return client.validateJWTSVID({ svid: token, audience: 'test-audience' }, { headers: WORKLOAD_HEADERS });
}

/** A CSR for an RSA key of 16,384 bits; its signature is never looked at. */
function hugeRsaCsr(): Uint8Array {
  const key = createTestKey('RSA-2048');
  const modulus = Buffer.concat([Buffer.from([0x02, 0x82, 0x08, 0x01, 0x00, 0xff]), randomBytes(2047)]);
  const exponent = Buffer.from([0x02, 0x03, 1, 0, 1]);
  const sequence = (tag: number, ...parts: Buffer[]): Buffer => {
    const content = Buffer.concat(parts);
    return Buffer.concat([Buffer.from([tag, 0x82, content.length >> 8, content.length & 255]), content]);
  };
  const rsa = Buffer.from('300d06092a864886f70d0101010500', 'hex');
  const spki = sequence(0x30, rsa, sequence(0x03, Buffer.from([0]), sequence(0x30, modulus, exponent)));
  return createTestCsr({ key: { ...key, spki }, uris: ['spiffe://example.org/huge'] });
}

describe('a CSR', () => {
  const key = createTestKey();
  const good = createTestCsr({ key, uris: ['spiffe://example.org/w'] });
  const flipped = (at: number): Uint8Array =>
    good.map((byte, index) => (index === (at < 0 ? good.length + at : at) ? byte ^ 1 : byte));
  const broken: readonly (readonly [string, Uint8Array])[] = [
    ['that is missing', new Uint8Array()],
    ['that is no DER', Buffer.from('not a request')],
    ['that is cut short', good.subarray(0, -3)],
    ['with bytes behind it', Buffer.concat([good, Buffer.of(0)])],
    ['of endless length', Buffer.from('3080308002010030000000', 'hex')],
    ['of a megabyte', randomBytes(1_000_000)],
    [
      'in PEM',
      Buffer.from(
        `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(good).toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
      ),
    ],
    ['with a signature of another key', createTestCsr({ key, signingKey: createTestKey(), uris: ['spiffe://example.org/w'] })],
    ['with a changed signature', flipped(-1)],
    ['with changed content', flipped(40)],
    ['for an RSA key of 16,384 bits', hugeRsaCsr()],
    ['for an RSA key of 1,024 bits', createTestCsr({ key: createTestKey('RSA-1024'), uris: ['spiffe://example.org/w'] })],
    ['for a key on secp256k1', createTestCsr({ key: createTestKey('secp256k1'), uris: ['spiffe://example.org/w'] })],
  ];
  const misnamed: readonly (readonly [string, readonly string[]])[] = [
    ['with two URI SANs', ['spiffe://example.org/a', 'spiffe://example.org/b']],
    ['without an ID', []],
    ['for a foreign trust domain', ['spiffe://foreign.example/a']],
    ['for the trust domain itself', ['spiffe://example.org']],
    ['for a reserved ID', ['spiffe://example.org/spire/server']],
    ['for an agent', ['spiffe://example.org/spire/agent/join_token/x']],
    ['for a web site', ['https://example.org/']],
  ];

  test.each(broken)('[bad input] %s is refused wherever one is taken', async (_what, csr) => {
    const signing = system.remote(agent);
    const { entries } = await signing.client(Entry).getAuthorizedEntries({});
    const entryId = entries[0]?.id ?? 'none';
    const { value: token } = await system.admin(Agent).createJoinToken({ ttl: 60 });
    if (csr.length > 100) secrets.push(Buffer.from(csr.subarray(0, 200)).toString('base64').slice(8, 60));
    const started = performance.now();
    const calls = {
      mint: outcomeOf(system.admin(SVID).mintX509SVID({ csr })),
      renew: outcomeOf(signing.client(Agent).renewAgent({ params: { csr } })),
      downstream: outcomeOf(system.remote(downstream).client(SVID).newDownstreamX509CA({ csr })),
      attest: outcomeOf(attestWith(system.remote(), token, csr)),
    };
    for (const [name, call] of Object.entries(calls)) expect([name, (await call).code]).toEqual([name, 'invalid_argument']);
    // An agent without entries learns no more than that.
    const batch = await outcomeOf(signing.client(SVID).batchNewX509SVID({ params: [{ entryId, csr }] }));
    expect(batch.code).toMatch(/invalid_argument|item 5/);
    expect(performance.now() - started).toBeLessThan(3_000);
    // A token is not lost to a request that could not be signed.
    expect(await failureOf(attestByToken(system.remote(), token))).toMatchObject({ code: 'ok' });
    system.closeClients();
  });

  test.each(misnamed)('[bad input] %s is not minted', async (_what, uris) => {
    expect(await outcomeOf(system.admin(SVID).mintX509SVID({ csr: createTestCsr({ uris }) }))).toMatchObject({
      code: 'invalid_argument',
    });
  });

  async function attestWith(connection: GrpcConnection, token: string, csr: Uint8Array): Promise<void> {
    async function* requests() {
      const data = { type: 'join_token', payload: Buffer.from(token) };
      yield { step: { case: 'params', value: { data, params: { csr } } } } as const;
    }
    for await (const _ of connection.client(Agent).attestAgent(requests())) return;
  }
});

describe('a JWT', () => {
  const part = (value: unknown): string =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  const header = () => ({ alg: 'ES256', kid: foreign.jwtKeyId, typ: 'JWT' });
  const claims = () => ({ sub: 'spiffe://foreign.example/w', aud: ['test-audience'], exp: Math.floor(Date.now() / 1000) + 300 });
  const unsigned = (head: object, signature = ''): string => `${part(head)}.${part(claims())}.${signature}`;
  const hmac = (secret: string | Uint8Array): string => {
    const text = `${part({ ...header(), alg: 'HS256' })}.${part(claims())}`;
    return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
  };
  const cases: readonly (readonly [string, () => string])[] = [
    ['with alg none', () => unsigned({ ...header(), alg: 'none' })],
    ['with alg None', () => unsigned({ ...header(), alg: 'None' })],
    ['without alg', () => unsigned({ ...header(), alg: undefined })],
    ['with HS256 over the public key in DER', () => hmac(foreign.jwtKey.spki)],
    ['with HS256 over the public key in PEM', () => hmac(foreign.jwtKey.publicKey.export({ type: 'spki', format: 'pem' }))],
    ['with HS256 over nothing', () => hmac('')],
    ['with a foreign kid', () => foreign.signJwt({}, { kid: 'other' })],
    ['with the kid of the own trust domain', () => foreign.signJwt({}, { kid: 'x'.repeat(1000) })],
    ['without a kid', () => foreign.signJwt({}, { kid: undefined })],
    ['signed by another key', () => foreign.signJwt({}, {}, createTestKey())],
    ['with a signature of zeros', () => unsigned(header(), Buffer.alloc(64).toString('base64url'))],
    ['with an empty signature', () => unsigned(header())],
    ['with another alg than its key', () => unsigned({ ...header(), alg: 'RS256' }, part('x'))],
    [
      'with the key in its own header',
      () => unsigned({ ...header(), jwk: createTestKey().publicKey.export({ format: 'jwk' }) }, part('x')),
    ],
    ['with a critical extension', () => foreign.signJwt({}, { crit: ['exp'] })],
    ['of another type', () => foreign.signJwt({}, { typ: 'at+jwt' })],
    ['that is a WIT-SVID', () => foreign.signWit()],
    ['without sub', () => foreign.signJwt({ sub: undefined })],
    ['without aud', () => foreign.signJwt({ aud: undefined })],
    ['without exp', () => foreign.signJwt({ exp: undefined })],
    ['for nobody', () => foreign.signJwt({ aud: [] })],
    ['for others', () => foreign.signJwt({ aud: ['test-audience2', 'TEST-AUDIENCE'] })],
    ['with an exp in words', () => foreign.signJwt({ exp: 'tomorrow' })],
    ['with an exp beyond all numbers', () => foreign.signJwt({ exp: Number.MAX_VALUE })],
    ['that ran out', () => foreign.signJwt({ exp: Math.floor(Date.now() / 1000) - 120 })],
    ['that is not yet valid', () => foreign.signJwt({ nbf: Math.floor(Date.now() / 1000) + 600 })],
    ['with a sub that is a list', () => foreign.signJwt({ sub: ['spiffe://foreign.example/w'] })],
    ['of a trust domain that its key is not of', () => foreign.signJwt({ sub: 'spiffe://example.org/w' })],
    ['of an unknown trust domain', () => foreign.signJwt({ sub: 'spiffe://unknown.example/w' })],
    ['in the JSON serialization', () => JSON.stringify({ payload: part(claims()), protected: part(header()), signature: 'x' })],
    ['with four parts', () => `${foreign.signJwt()}.x`],
    ['with white space', () => `${foreign.signJwt()} `],
    ['with padding', () => `${foreign.signJwt()}==`],
    ['of half a megabyte', () => `${part(header())}.${'A'.repeat(500_000)}.AAAA`],
    ['nested without end', () => `${part(header())}.${part('['.repeat(50_000))}.AAAA`],
    ['that is empty', () => ''],
  ];

  test.each(cases)('[bad input] %s is refused by ValidateJWTSVID', async (_what, make) => {
    const token = make();
    if (token.length > 100) secrets.push(token.slice(-90, -10));
    const { code, message } = await failureOf(validate(token));
    expect(code).toBe('invalid_argument');
    expect(message).not.toBe('');
  });

  test('that is good is taken, so the refusals above have their reason in the token', async () => {
    expect(await failureOf(validate(foreign.signJwt()))).toMatchObject({ code: 'ok' });
  });
});

describe('afterwards', () => {
  test('both processes serve, have no more files open, and their logs know no secret', async () => {
    await system.register({ spiffeId: own('/afterwards') });
    const { svid } = await system.admin(SVID).mintJWTSVID({ id: own('/minted'), audience: ['a'] });
    const csr = createTestCsr({ uris: ['spiffe://example.org/logged'] });
    await system.admin(SVID).mintX509SVID({ csr });
    secrets.push(svid?.token ?? '?', Buffer.from(csr).toString('base64').slice(20, 80));
    const { value: fresh } = await system.admin(Agent).createJoinToken({ ttl: 60 });
    secrets.push(fresh);
    const keys = readFileSync(join(system.folder, 'agent/data/agent.json'), 'utf8');
    // The cast is sound: it is the agent's own state.
    secrets.push((JSON.parse(keys) as { svid: { privateKey: string } }).svid.privateKey.slice(30, 120));
    const response = await first(
      system.connect(system.workloadSocket).client(SpiffeWorkloadAPI).fetchX509SVID({}, { headers: WORKLOAD_HEADERS }),
    );
    // The cast is sound: the answer of FetchX509SVID.
    const { svids } = response as { svids: { x509SvidKey: Uint8Array }[] };
    for (const { x509SvidKey } of svids) secrets.push(Buffer.from(x509SvidKey).toString('base64').slice(30, 120));

    const logs = [system.ca.log, system.agent?.log ?? '', readFileSync(join(system.folder, 'data/audit.jsonl'), 'utf8')].join(
      '\n',
    );
    const leaked = [...secrets, 'PRIVATE KEY', 'CERTIFICATE REQUEST', 'user:secret'].filter((secret) => logs.includes(secret));
    expect(leaked).toEqual([]);
    for (const token of [agent.token, system.token])
      expect(logs.replaceAll(`/spire/agent/join_token/${token}`, '')).not.toContain(token);
    expect(logs).not.toMatch(/"rpc failed"|uncaught|unhandled/i);

    system.closeClients();
    await expect
      .poll(() => [system.ca.openFiles(), system.agent?.openFiles() ?? 0].map((count, at) => count <= (openFiles[at] ?? 0)), {
        timeout: 15_000,
      })
      .toEqual([true, true]);
    console.log(
      `${secrets.length} secrets looked for in ${logs.length} characters of logs; files open: CA ${system.ca.openFiles()}, agent ${system.agent?.openFiles()}`,
    );
    expect([system.ca.exitCode, system.agent?.exitCode]).toEqual([undefined, undefined]);
  });
});
