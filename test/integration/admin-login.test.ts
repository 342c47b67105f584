// Logging in to the CA with a service-account token, what that allows, and the session that keeps it up.
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { ACCESS_TABLE } from '../../ca/api/access-table.ts';
import { systemClock } from '../../core/clock.ts';
import { Admin, Role } from '../../proto/gen/countersign/admin/v1/admin_pb.ts';
import { Bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { TrustDomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { LocalAuthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { openAdminSession, type AdminSession, type LoginTarget } from '../../runtime/admin-session.ts';
import { createLogger } from '../../runtime/log.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { verifyX509Svid } from '../../spiffe/x509-svid.ts';
import { CaProcess } from '../support/ca-process.ts';
import { clusterMissing, ClusterOfPods, SYSTEM } from '../support/cluster-of-pods.ts';
import { callRpc, REMOTE_RPCS } from '../support/every-rpc.ts';
import { Forwarder } from '../support/forwarder.ts';
import { deletePod } from '../support/kubernetes/stand-in-node.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { failureOf } from '../support/rpc-failure.ts';
import { RunningCa } from '../support/running-ca.ts';
import { attestBy } from '../support/test-agent.ts';
import { TestCa } from '../support/test-ca.ts';
import { createTestCsr } from '../support/test-csr.ts';
import { createTestKey } from '../support/test-keys.ts';

const AUDIENCE = 'countersign-admin';
const DNS_NAME = `countersign-controller.${SYSTEM}.svc`;
const trustDomain = parseTrustDomain('example.org');
const log = createLogger({ level: 'fatal', name: 'test' });
const own = (path: string) => ({ trustDomain: 'example.org', path });
const base = { parentId: own('/node'), selectors: [{ type: 'a', value: 'b' }] };

describe.skipIf(clusterMissing !== undefined)('admin login (needs go, or KUBEBUILDER_ASSETS)', () => {
  const resources = new AsyncDisposableStack();
  let cluster: ClusterOfPods;
  let folder = '';
  let ca: RunningCa;
  let controller: AdminSession;

  const yamlWith = (login: string): string => {
    const psat = `k8sPsat: { clusters: { main: { serviceAccounts: ["${SYSTEM}:agent"], kubeconfig: ${cluster.kubeconfig} } } }`;
    const logins = `serviceAccounts: { "${SYSTEM}:controller": ${login} }, kubeconfig: ${cluster.kubeconfig}`;
    return `attestors: { joinToken: {}, ${psat} }\nadmins: ["spiffe://example.org/ops", "spiffe://partner.example/ops"]\nadminLogin: { clusters: { main: { ${logins} } } }`;
  };
  const startCa = (login = `{ role: controller, dnsNames: [${DNS_NAME}] }`): Promise<RunningCa> =>
    RunningCa.start({ yaml: yamlWith(login) });
  /** A target for a session of a new pod, trusting the CA's bundle of now. */
  const targetAt = async (at: RunningCa, port = at.ca.grpcPort): Promise<LoginTarget> => {
    const { token, name } = await cluster.pod({ serviceAccount: 'controller', audience: AUDIENCE });
    const tokenFile = join(folder, name);
    writeFileSync(tokenFile, token);
    const file = join(folder, `${name}.pem`);
    await writeBundle(at, file);
    return { kind: 'login', address: { kind: 'tcp', host: '127.0.0.1', port }, tokenFile, bootstrap: { kind: 'file', file } };
  };
  const open = (target: LoginTarget): Promise<AdminSession> =>
    openAdminSession({ ca: target, trustDomain, clock: systemClock, log });
  const login = (token: string, name = '') =>
    ca
      .remote()
      .client(Admin)
      .login({ token, csr: createTestCsr({ uris: [] }), cluster: name });

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'login-'));
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    cluster = resources.use(await ClusterOfPods.start());
    ca = resources.use(await startCa());
    controller = resources.use(await open(await targetAt(ca)));
  });
  afterAll(() => resources[Symbol.asyncDispose]());

  test('gives an SVID of 15 minutes below /spire/ with the DNS names of the configuration', () => {
    const credentials = controller.credentials.value;
    expect(credentials?.spiffeId.toString()).toBe(`spiffe://example.org/spire/admin/main/${SYSTEM}/controller`);
    const certificate = new X509Certificate(credentials?.chainDer[0] ?? '');
    expect(certificate.subjectAltName).toContain(`DNS:${DNS_NAME}`);
    const lastsMs = certificate.validToDate.getTime() - certificate.validFromDate.getTime();
    expect(lastsMs).toBeGreaterThan(14 * 60_000);
    expect(lastsMs).toBeLessThanOrEqual(15 * 60_000 + 11_000);
    expect(credentials && certificate.checkPrivateKey(credentials.privateKey)).toBe(true);
    const audit = readFileSync(join(ca.folder, 'data', 'audit.jsonl'), 'utf8');
    expect(audit).toMatch(/"kind":"admin-svid".*"caller":"login of pod main\//);
  });

  test('tells the role and the bundle', async () => {
    const { token } = await cluster.pod({ serviceAccount: 'controller', audience: AUDIENCE });
    const { role, bundle, dnsNames } = await login(token, 'main');
    expect({ role, dnsNames }).toEqual({ role: Role.CONTROLLER, dnsNames: [DNS_NAME] });
    expect(bundle?.x509Authorities).toHaveLength(1);
  });

  test('keeps the tokens of agents and of admins apart', async () => {
    const agent = await cluster.pod({ serviceAccount: 'agent' });
    expect(await failureOf(login(agent.token))).toMatchObject({ code: 'permission_denied' });
    const admin = await cluster.pod({ serviceAccount: 'agent', audience: AUDIENCE });
    expect(await failureOf(login(admin.token))).toMatchObject({ code: 'permission_denied' });
    const payload = Buffer.from(JSON.stringify({ cluster: 'main', token: admin.token }));
    expect(await failureOf(attestBy(ca.remote(), { type: 'k8s_psat', payload }))).toMatchObject({ code: 'permission_denied' });
  });

  test('refuses a token of a pod that is gone, an unknown cluster, garbage and a CSR that proves nothing', async () => {
    const { name, token } = await cluster.pod({ serviceAccount: 'controller', audience: AUDIENCE });
    expect(await failureOf(login(token, 'other'))).toMatchObject({ code: 'failed_precondition' });
    expect(await failureOf(login('x'))).toMatchObject({ code: 'invalid_argument' });
    const forged = ca
      .remote()
      .client(Admin)
      .login({ token, csr: new Uint8Array(10) });
    expect(await failureOf(forged)).toMatchObject({ code: 'invalid_argument' });
    await deletePod(cluster.server, SYSTEM, name);
    expect(await failureOf(login(token))).toMatchObject({ code: 'permission_denied' });
  });

  test('lets a controller call what the table says, and nothing else', async () => {
    for (const rpc of REMOTE_RPCS) {
      const roles = ACCESS_TABLE.get(`/${rpc.path}`);
      const { message } = await failureOf(callRpc(controller.connection, rpc));
      const isDenied = message === `authorization denied for method /${rpc.path}`;
      expect([rpc.path, isDenied]).toEqual([rpc.path, !roles?.has('controller') && !roles?.has('anyone')]);
    }
  });

  test('keeps a controller from making itself an admin', async () => {
    const entries = controller.connection.client(Entry);
    const { results: made } = await ca.local(Entry).batchCreateEntry({
      entries: [
        { ...base, id: 'main.admin', spiffeId: own('/admin'), admin: true },
        { ...base, id: 'main.plain', spiffeId: own('/plain') },
      ],
    });
    expect(made.map(({ status }) => status?.code)).toEqual([0, 0]);
    const other = { ...base, parentId: own('/other') };
    const created = await entries.batchCreateEntry({
      entries: [
        { ...base, id: 'main.1', spiffeId: own('/mine') },
        { ...base, id: 'main.2', spiffeId: own('/evil'), admin: true },
        { ...base, id: 'main.3', spiffeId: own('/evil-too'), downstream: true },
        { ...other, id: 'main.4', spiffeId: own('/admin') },
        { ...other, id: 'main.5', spiffeId: own('/ops') },
      ],
    });
    expect(created.results.map(({ status }) => status?.code)).toEqual([0, 7, 7, 7, 7]);
    const updated = await entries.batchUpdateEntry({
      entries: [
        { id: 'main.plain', hint: 'x' },
        { id: 'main.admin', hint: 'x' },
      ],
      inputMask: { hint: true },
    });
    expect(updated.results.map(({ status }) => status?.code)).toEqual([0, 7]);
    const promoted = await entries.batchUpdateEntry({ entries: [{ id: 'main.plain', admin: true }], inputMask: { admin: true } });
    expect(promoted.results[0]?.status?.code).toBe(7);
    const renamed = await entries.batchUpdateEntry({
      entries: [{ id: 'main.plain', spiffeId: own('/ops') }],
      inputMask: { spiffeId: true },
    });
    expect(renamed.results[0]?.status?.code).toBe(7);
    expect((await entries.batchDeleteEntry({ ids: ['main.admin'] })).results[0]?.status?.code).toBe(7);
    const { spki: publicKey } = createTestKey();
    const signed = controller.connection.client(Admin).signPublicKey({ entryId: 'main.admin', publicKey });
    expect(await failureOf(signed)).toMatchObject({ code: 'permission_denied' });
  });

  test('binds a controller to entries whose IDs begin with the prefix of its login', async () => {
    await using two = await RunningCa.start({
      yaml: yamlWith('{ role: controller, entryIdPrefix: east, allowAdminIdentities: true }'),
    });
    await using session = await open(await targetAt(two));
    const [all, entries] = [two.local(Entry), session.connection.client(Entry)];
    const codes = (results: readonly { status?: { code: number } | undefined }[]) => results.map(({ status }) => status?.code);
    const named = (id: string, path: string) => ({ ...base, id, spiffeId: own(path) });
    await all.batchCreateEntry({ entries: [named('west.1', '/west'), named('east.1', '/east')] });
    const made = await entries.batchCreateEntry({
      entries: [
        named('east.2', '/new'),
        named('', '/none'),
        named('west.2', '/theirs'),
        named('eastern.1', '/near'),
        // One that is there already is told of, whoever asks: nothing is written.
        named('east.3', '/west'),
      ],
    });
    expect(codes(made.results)).toEqual([0, 7, 7, 7, 6]);
    expect(made.results[2]?.status?.message).toContain('entryIdPrefix');
    const updates = ['east.1', 'west.1', 'west.none', 'east.none'].map((id) => ({ id, hint: 'x' }));
    const updated = await entries.batchUpdateEntry({ entries: updates, inputMask: { hint: true } });
    expect(codes(updated.results)).toEqual([0, 7, 7, 5]);
    const deleted = await entries.batchDeleteEntry({ ids: ['east.1', 'west.1', 'west.none', 'east.none'] });
    expect(codes(deleted.results)).toEqual([0, 7, 7, 5]);
    const sign = (entryId: string) =>
      failureOf(session.connection.client(Admin).signPublicKey({ entryId, publicKey: createTestKey().spki }));
    expect(await sign('west.1')).toMatchObject({ code: 'permission_denied' });
    expect(await sign('east.2')).toMatchObject({ code: 'ok' });
    // It reads all: what is in the way of its own is told by ID.
    expect((await entries.getEntry({ id: 'west.1' })).hint).toBe('');
    const { entries: listed } = await entries.listEntries({});
    expect(listed.map(({ id }) => id).toSorted()).toEqual(['east.2', 'west.1']);
    expect((await entries.countEntries({})).count).toBe(2);
  });

  test('keeps a controller from speaking for a trust domain that an admin is of', async () => {
    const x509Authorities = [{ asn1: TestCa.create({ trustDomain: 'partner.example' }).root.der }];
    const bundleOf = (name: string) => ({ trustDomain: name, x509Authorities });
    const bundles = controller.connection.client(Bundle);
    const both = [bundleOf('partner.example'), bundleOf('other.example')];
    const set = await bundles.batchSetFederatedBundle({ bundle: both });
    expect(set.results.map(({ status }) => status?.code)).toEqual([7, 0]);
    for (const bundle of both.slice(0, 1)) {
      expect((await bundles.batchCreateFederatedBundle({ bundle: [bundle] })).results[0]?.status?.code).toBe(7);
      expect((await bundles.batchUpdateFederatedBundle({ bundle: [bundle] })).results[0]?.status?.code).toBe(7);
    }
    const removed = await bundles.batchDeleteFederatedBundle({ trustDomains: ['partner.example', 'other.example'] });
    expect(removed.results.map(({ status }) => status?.code)).toEqual([7, 0]);
    const relationships = controller.connection.client(TrustDomain);
    const profile = { bundleEndpointProfile: { case: 'httpsWeb', value: {} } } as const;
    const relationship = { trustDomain: 'partner.example', bundleEndpointUrl: 'https://evil.example/', ...profile };
    const created = await relationships.batchCreateFederationRelationship({ federationRelationships: [relationship] });
    expect(created.results[0]?.status?.code).toBe(7);
    const updated = await relationships.batchUpdateFederationRelationship({ federationRelationships: [relationship] });
    expect(updated.results[0]?.status?.code).toBe(7);
    const deleted = await relationships.batchDeleteFederationRelationship({ trustDomains: ['partner.example'] });
    expect(deleted.results[0]?.status?.code).toBe(7);
  });

  test('lets a controller do so where its login says it may, and an admin everything', async () => {
    for (const given of ['{ role: controller, allowAdminIdentities: true }', '{ role: admin }']) {
      await using trusting = await startCa(given);
      await using session = await open(await targetAt(trusting));
      const entry = { ...base, id: given.includes('admin }') ? 'any' : 'main.any', spiffeId: own('/admin'), admin: true };
      const { results } = await session.connection.client(Entry).batchCreateEntry({ entries: [entry] });
      expect(results[0]?.status?.code).toBe(0);
      const { code } = await failureOf(session.connection.client(LocalAuthority).getX509AuthorityState({}));
      expect(code).toBe(given.includes('admin }') ? 'ok' : 'permission_denied');
    }
  });

  describe('SignPublicKey', () => {
    const sign = (request: object) => controller.connection.client(Admin).signPublicKey({ entryId: 'main.pod', ...request });
    const key = createTestKey();

    beforeAll(async () => {
      const entry = {
        ...base,
        id: 'main.pod',
        spiffeId: own('/pod'),
        dnsNames: ['pod.example.org'],
        x509SvidTtl: 3600,
        hint: 'main',
      };
      await ca.local(Entry).batchCreateEntry({ entries: [entry] });
    });

    test('certifies the key for the entry, and writes down who asked', async () => {
      const { svid, notBefore, dnsNames } = await sign({ publicKey: key.spki, minTtlSeconds: 3600 });
      const bundles = { bundleOf: () => controller.bundle.value };
      const verified = verifyX509Svid(svid?.certChain ?? [], bundles, systemClock.nowMs());
      expect(verified.id.toString()).toBe('spiffe://example.org/pod');
      expect({ hint: svid?.hint, dnsNames }).toEqual({ hint: 'main', dnsNames: ['pod.example.org'] });
      const certificate = new X509Certificate(svid?.certChain[0] ?? '');
      expect(certificate.publicKey.equals(key.publicKey)).toBe(true);
      expect(certificate.validFromDate.getTime()).toBe(Number(notBefore) * 1000);
      expect(certificate.validToDate.getTime()).toBe(Number(svid?.expiresAt) * 1000);
      expect(Number(svid?.expiresAt) - Number(notBefore)).toBeGreaterThanOrEqual(3600);
      const audit = readFileSync(join(ca.folder, 'data', 'audit.jsonl'), 'utf8');
      expect(audit).toMatch(
        /"spiffeId":"spiffe:\/\/example.org\/pod","caller":"spiffe:\/\/example.org\/spire\/admin\/main\/[^"]*","entryId":"main\.pod"/,
      );
    });

    test('keeps within the lifetimes that are asked for', async () => {
      const { svid } = await sign({ publicKey: key.spki, maxTtlSeconds: 600 });
      expect(Number(svid?.expiresAt) * 1000 - systemClock.nowMs()).toBeLessThanOrEqual(600_000);
      const { svid: long } = await sign({ publicKey: key.spki, maxTtlSeconds: 86_400 });
      expect(Number(long?.expiresAt) * 1000 - systemClock.nowMs()).toBeLessThanOrEqual(3_600_000);
      expect(await failureOf(sign({ publicKey: key.spki, minTtlSeconds: 3601 }))).toMatchObject({ code: 'failed_precondition' });
      expect(await failureOf(sign({ publicKey: key.spki, maxTtlSeconds: 60, minTtlSeconds: 61 }))).toMatchObject({
        code: 'invalid_argument',
      });
    });

    test('refuses what it cannot certify', async () => {
      expect(await failureOf(sign({ entryId: 'none', publicKey: key.spki }))).toMatchObject({ code: 'not_found' });
      expect(await failureOf(sign({ entryId: '', publicKey: key.spki }))).toMatchObject({ code: 'invalid_argument' });
      expect(await failureOf(sign({}))).toMatchObject({ code: 'invalid_argument' });
      expect(await failureOf(sign({ publicKey: new Uint8Array([1, 2, 3]) }))).toMatchObject({ code: 'invalid_argument' });
    });

    test('certifies every kind of key that pod certificates may have', async () => {
      for (const kind of ['P-256', 'P-384', 'RSA-2048', 'Ed25519'] as const) {
        const { svid } = await sign({ publicKey: createTestKey(kind).spki });
        expect(svid?.certChain.length).toBeGreaterThan(0);
      }
    });
  });

  describe('what a login gave', () => {
    /** A login with a key of its own, as any client makes it. */
    const logInTo = async (port: number) => {
      const { token } = await cluster.pod({ serviceAccount: 'controller', audience: AUDIENCE });
      const key = createTestKey();
      const connect = (pem?: { certificatePem: string; privateKeyPem: string }): GrpcConnection => {
        const target = { kind: 'tcp', host: '127.0.0.1', port } as const;
        return connectGrpc({ target, clock: systemClock, tls: { verifyServer: () => {}, identity: () => pem } });
      };
      using anonymous = connect();
      const { svid } = await anonymous.client(Admin).login({ token, csr: createTestCsr({ key, uris: [] }) });
      const certificatePem = (svid?.certChain ?? []).map((der) => encodePem('CERTIFICATE', der)).join('');
      const privateKeyPem = key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
      return { certificatePem, privateKeyPem, connect };
    };

    test('ends with its SVID, on streams too', async () => {
      const clock = new ManualClock(systemClock.nowMs());
      await using timed = await RunningCa.start({ clock, yaml: yamlWith('{ role: controller }') });
      const { connect, ...pem } = await logInTo(timed.ca.grpcPort);
      using connection = connect(pem);
      const bundles = connection.client(Admin).watchBundle({})[Symbol.asyncIterator]();
      expect((await bundles.next()).value).toMatchObject({ trustDomain: 'example.org' });
      let ended = '';
      const next = failureOf(bundles.next()).then(({ code }) => (ended = code));
      // In small steps with a call in each, so that the connection's own liveness checks see it alive.
      let calls = 'ok';
      for (let step = 0; step < 200 && calls === 'ok'; step += 1) {
        expect(ended).toBe('');
        clock.advance(5_000);
        calls = (await failureOf(connection.client(Entry).countEntries({}))).code;
      }
      expect(await next).toBe('unavailable');
      expect(calls).toBe('unauthenticated');
    });

    test('ends when the login is not configured any more', async () => {
      const home = mkdtempSync(join(folder, 'ca-'));
      const first = await CaProcess.start({ folder: home, yaml: yamlWith('{ role: controller }') });
      const { connect, ...pem } = await logInTo(first.grpcPort);
      using before = connect(pem);
      expect(await failureOf(before.client(Entry).countEntries({}))).toMatchObject({ code: 'ok' });
      expect(first.log).not.toContain('eyJ');
      await first.stop();
      await using second = await CaProcess.start({ folder: home });
      const target = { kind: 'tcp', host: '127.0.0.1', port: second.grpcPort } as const;
      const tls = { verifyServer: () => {}, identity: () => pem };
      using after = connectGrpc({ target, clock: systemClock, tls });
      expect(await failureOf(after.client(Entry).countEntries({}))).toMatchObject({ code: 'permission_denied' });
    });
  });

  describe('the session', () => {
    test('hears of a new authority at once', async () => {
      const before = controller.bundle.value.x509Authorities.length;
      await ca.local(LocalAuthority).prepareX509Authority({});
      await expect.poll(() => controller.bundle.value.x509Authorities.length).toBe(before + 1);
    });

    test('survives a CA that comes back with other authorities, once the bootstrap tells them', async () => {
      const first = await startCa();
      await using forwarder = await Forwarder.start(first.ca.grpcPort);
      const target = await targetAt(first, forwarder.port);
      await using session = await open(target);
      const credentials = session.credentials.value;
      forwarder.target = undefined;
      await first[Symbol.asyncDispose]();
      await expect.poll(() => session.outage.value?.code).toBe('unavailable');
      await using second = await startCa();
      if (target.bootstrap.kind === 'file') await writeBundle(second, target.bootstrap.file);
      forwarder.target = second.ca.grpcPort;
      await expect
        .poll(() => session.credentials.value !== credentials && session.outage.value === undefined, { timeout: 60_000 })
        .toBe(true);
      expect(await failureOf(session.connection.client(Entry).countEntries({}))).toMatchObject({ code: 'ok' });
      expect(session.bundle.value.x509Authorities).toHaveLength(1);
    });

    test('does not open where the CA refuses the token, or there is none', async () => {
      const target = await targetAt(ca);
      expect(await failureOf(open({ ...target, tokenFile: join(folder, 'missing') }))).toMatchObject({
        code: 'failed_precondition',
      });
      const stranger = await cluster.pod({ serviceAccount: 'stranger', audience: AUDIENCE });
      writeFileSync(target.tokenFile, stranger.token);
      expect(await failureOf(open(target))).toMatchObject({ code: 'permission_denied' });
    });
  });
});

async function writeBundle(ca: RunningCa, file: string): Promise<void> {
  const { x509Authorities } = await ca.local(Bundle).getBundle({});
  writeFileSync(file, x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join(''));
}
