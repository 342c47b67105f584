// What a program on any SPIFFE library must be able to do with our agent.
import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CLIENT_ID, PEER_ID, SpiffeClientRig, bundlesIn, leafIn, svidsIn, tokenIn, type TokenLine } from './spiffe-client.ts';
import { isInstalled } from './toolchain.ts';

const TTL_SECONDS = 12;
const certificateOf = (hex = ''): X509Certificate => new X509Certificate(Buffer.from(hex, 'hex'));
const keyIdOf = ({ token }: TokenLine): unknown =>
  // The cast is sound: it is the header of a JWT.
  (JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as { readonly kid: unknown }).kid;

/**
 * Declares the tests of one library.
 *
 * @param tag Stands before each title, such as `[client: java-spiffe]`.
 * @param build Builds the program; resolves with its command and first arguments.
 */
export function testSpiffeClient(tag: string, build: () => Promise<readonly string[]>): void {
  let command: readonly string[] = [];
  let rig: SpiffeClientRig;
  let foreignAuthority = '';

  beforeAll(async () => {
    command = await build();
    rig = await SpiffeClientRig.start(command);
    foreignAuthority = Buffer.from(await rig.federate('foreign.org')).toString('hex');
    await rig.register({ federatesWith: ['foreign.org'], hint: 'internal' });
    if (isInstalled('go')) await rig.registerPeer();
  });
  afterAll(async () => rig[Symbol.asyncDispose]());

  test(`${tag} X.509-SVID with its bundle and the federated one [Workload API §5.2.1]`, async () => {
    const line = await rig.run('x509');
    expect(svidsIn(line)).toMatchObject([{ id: CLIENT_ID, hint: 'internal' }]);
    const bundles = bundlesIn(line);
    const root = certificateOf(bundles.get('example.org')?.[0]);
    expect(leafIn(line).subjectAltName).toBe(`URI:${CLIENT_ID}`);
    expect(leafIn(line).verify(root.publicKey)).toBe(true);
    expect(bundles.get('foreign.org')).toEqual([foreignAuthority]);
  });

  test(`${tag} X.509 bundles alone [Workload API §5.2.2]`, async () => {
    const bundles = bundlesIn(await rig.run('bundles'));
    expect([...bundles.keys()].sort()).toEqual(['example.org', 'foreign.org']);
    expect(bundles.get('example.org')).toEqual(bundlesIn(await rig.run('x509')).get('example.org'));
  });

  test(`${tag} JWT-SVID: the library verifies it, the agent validates it [Workload API §6.2.1, §6.2.3]`, async () => {
    const token = tokenIn(await rig.run('jwt', 'orders'));
    expect(token).toMatchObject({ id: CLIENT_ID, audience: ['orders'] });
    expect(tokenIn(await rig.run('validate', 'orders', token.token))).toMatchObject({ id: CLIENT_ID });
    expect(await rig.run('validate', 'another', token.token)).toMatchObject({ code: 'invalid_argument' });
    expect(bundlesIn(await rig.run('jwtbundles')).get('example.org')).toContain(keyIdOf(token));
  });

  test(`${tag} refused without an entry [Workload API §4.4]`, async () => {
    await using empty = await SpiffeClientRig.start(command);
    for (const args of [['x509'], ['bundles'], ['jwtbundles'], ['jwt', 'orders']]) {
      const line = await empty.run(...args);
      expect(line).toMatchObject({ code: 'permission_denied' });
      expect(line['error']).toContain('no identity issued');
    }
  });

  test(`${tag} follows the agent over a restart`, async () => {
    await using restarted = await SpiffeClientRig.start(command);
    await restarted.register();
    await using watching = restarted.spawn('watch');
    const before = leafIn(await watching.until((line) => svidsIn(line).length === 1));
    await restarted.restartAgent();
    await watching.until((line) => svidsIn(line).length === 1 && leafIn(line).serialNumber !== before.serialNumber);
  });

  const withPeer = isInstalled('go') ? test : test.skip;

  withPeer(`${tag} SVIDs of ${TTL_SECONDS} s rotate before they expire, and a server with them goes on (needs go)`, async () => {
    await using rotating = await SpiffeClientRig.start(command);
    await rotating.register({ x509SvidTtl: TTL_SECONDS });
    await rotating.registerPeer();
    await using server = rotating.spawn('serve', PEER_ID);
    const { listening } = await server.until((line) => 'listening' in line);
    await using watching = rotating.spawn('watch');
    const first = leafIn(await watching.until((line) => svidsIn(line).length === 1));
    let latest = first;
    while (Date.now() < first.validToDate.getTime()) {
      const next = leafIn(await watching.until((line) => svidsIn(line).length === 1));
      expect(next.serialNumber).not.toBe(latest.serialNumber);
      expect(Date.now()).toBeLessThan(latest.validToDate.getTime());
      latest = next;
    }
    expect(await rotating.runPeer('-authorize', CLIENT_ID, 'dial', String(listening))).toMatchObject({ peer: CLIENT_ID });
  });

  withPeer(`${tag} mTLS client of a go-spiffe server, each authorised by SPIFFE ID (needs go)`, async () => {
    await using server = await rig.spawnPeer('-authorize', CLIENT_ID, 'serve', '127.0.0.1:0');
    const listening = String((await server.until((line) => 'listening' in line))['listening']);
    expect(await rig.run('dial', PEER_ID, listening)).toEqual({ peer: PEER_ID, reply: `${CLIENT_ID} hello` });
    expect(await rig.run('dial', 'spiffe://example.org/other', listening)).toHaveProperty('error');
  });

  withPeer(`${tag} mTLS server of a go-spiffe client, each authorised by SPIFFE ID (needs go)`, async () => {
    await using server = rig.spawn('serve', PEER_ID);
    const listening = String((await server.until((line) => 'listening' in line))['listening']);
    expect(await rig.runPeer('-authorize', CLIENT_ID, 'dial', listening)).toMatchObject({
      peer: CLIENT_ID,
      reply: `${PEER_ID} hello`,
    });
    expect(await rig.runPeer('-authorize', PEER_ID, 'dial', listening)).toHaveProperty('error');
  });

  withPeer(`${tag} each side refuses an ID that it does not expect (needs go)`, async () => {
    await using goServer = await rig.spawnPeer('-authorize', 'spiffe://example.org/other', 'serve', '127.0.0.1:0');
    const listening = String((await goServer.until((line) => 'listening' in line))['listening']);
    expect(await rig.run('dial', PEER_ID, listening)).toHaveProperty('error');
    await goServer.until((line) => 'refused' in line);

    await using server = rig.spawn('serve', 'spiffe://example.org/other');
    const address = String((await server.until((line) => 'listening' in line))['listening']);
    expect(await rig.runPeer('-authorize', CLIENT_ID, 'dial', address)).toHaveProperty('error');
    await server.until((line) => 'refused' in line);
  });
}
