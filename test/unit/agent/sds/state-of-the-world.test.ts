import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bundle } from '../../../../spiffe/bundle.ts';
import { pemOf, type SdsRig, secretsOf, serveSds } from '../../../support/sds-rig.ts';
import { StandInIdentities, testIdentity } from '../../../support/stand-in-identities.ts';
import { TestCa } from '../../../support/test-ca.ts';

const TYPE_URL = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
const ca = TestCa.create({ trustDomain: 'example.org' });
const friend = TestCa.create({ trustDomain: 'friend.test' });
const web = testIdentity(ca, '/web');
const db = testIdentity(ca, '/db');
const buildVersion = (majorNumber: number, minorNumber: number) => ({
  userAgentVersionType: {
    case: 'userAgentBuildVersion' as const,
    value: { version: { majorNumber, minorNumber, patch: 0 } },
  },
});

let identities: StandInIdentities;
let rig: SdsRig;
beforeEach(async () => {
  identities = new StandInIdentities(ca, [web, db]);
  identities.change({ federatedBundles: new Map([['friend.test', friend.bundle()]]) });
  rig = await serveSds(identities);
});
afterEach(() => rig[Symbol.asyncDispose]());

describe('names', () => {
  test('default is the first identity, with chain and key in PEM', async () => {
    const secret = secretsOf(await rig.fetch({ resourceNames: ['default'] })).get('default');
    expect(pemOf(secret?.certificate?.certificateChain)).toBe(
      web.certificatesDer.map((der) => pemBlock('CERTIFICATE', der)).join(''),
    );
    expect(pemOf(secret?.certificate?.privateKey)).toBe(pemBlock('PRIVATE KEY', web.privateKeyPkcs8Der));
  });

  test.each([
    ['ROOTCA', ['example.org']],
    ['spiffe://example.org', ['example.org']],
    ['spiffe://friend.test', ['friend.test']],
    ['ALL', ['example.org', 'friend.test']],
  ])('%s holds the bundles of %j for the SPIFFE validator', async (name, domains) => {
    const secret = secretsOf(await rig.fetch({ resourceNames: [name] })).get(name);
    expect(secret?.validation?.customValidatorConfig?.name).toBe('envoy.tls.cert_validator.spiffe');
    expect(secret?.validation?.trustedCa).toBeUndefined();
    const roots: Record<string, string> = { 'example.org': ca.rootPem, 'friend.test': friend.rootPem };
    expect(secret?.domains).toEqual(Object.fromEntries(domains.map((domain) => [domain, roots[domain]])));
  });

  test('a SPIFFE ID is that identity', async () => {
    const secret = secretsOf(await rig.fetch({ resourceNames: ['spiffe://example.org/db'] })).get('spiffe://example.org/db');
    expect(pemOf(secret?.certificate?.privateKey)).toBe(pemBlock('PRIVATE KEY', db.privateKeyPkcs8Der));
  });

  test('no names are all', async () => {
    expect([...secretsOf(await rig.fetch({ resourceNames: [''] })).keys()].sort()).toEqual([
      'spiffe://example.org',
      'spiffe://example.org/db',
      'spiffe://example.org/web',
      'spiffe://friend.test',
    ]);
  });

  test('several at once come together', async () => {
    const resourceNames = ['default', 'ROOTCA', 'ALL', 'spiffe://example.org/web'];
    expect([...secretsOf(await rig.fetch({ resourceNames })).keys()].sort()).toEqual(resourceNames.toSorted());
  });

  test.each(['spiffe://example.org/other', 'spiffe://enemy.test', 'nonsense', 'spiffe://example.org/web/'])(
    '%s is not for this workload',
    async (name) => {
      await expect(
        rig
          .stream()
          .send({ resourceNames: ['default', name] })
          .next(),
      ).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(`workload is not authorized for the requested identities ["${name}"]`),
      });
    },
  );

  test('configured names replace the defaults', async () => {
    await using own = await serveSds(identities, {
      defaultSvidName: 'me',
      defaultBundleName: 'us',
      defaultAllBundlesName: 'them',
    });
    expect([...secretsOf(await own.fetch({ resourceNames: ['me', 'us', 'them'] })).keys()].sort()).toEqual(['me', 'them', 'us']);
    await expect(
      own
        .stream()
        .send({ resourceNames: ['default'] })
        .next(),
    ).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  test('something else than secrets is refused', async () => {
    await expect(rig.stream().send({ typeUrl: 'type.googleapis.com/envoy.Cluster' }).next()).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });
});

describe('validator', () => {
  const plain = async (request: Parameters<SdsRig['fetch']>[0]) => {
    const secret = secretsOf(await rig.fetch({ resourceNames: ['ROOTCA'], ...request })).get('ROOTCA');
    return pemOf(secret?.validation?.trustedCa) === ca.rootPem && secret?.domains === undefined;
  };

  test.each([
    [1, 17, true],
    [0, 99, true],
    [1, 18, false],
    [1, 40, false],
    [2, 0, false],
  ])('Envoy %i.%i gets a plain list: %s', async (major, minor, isPlain) => {
    expect(await plain({ node: buildVersion(major, minor) })).toBe(isPlain);
  });

  test.each([
    [true, true],
    ['true', true],
    ['1', true],
    [false, false],
    ['F', false],
    ['yes', false],
    [1, false],
    [null, false],
  ])('node metadata %j turns it off: %s', async (value, isPlain) => {
    expect(await plain({ node: { metadata: { disable_spiffe_cert_validation: value } } })).toBe(isPlain);
  });

  test('the configuration turns it off, and node metadata on again', async () => {
    const spiffe = rig;
    rig = await serveSds(identities, { disableSpiffeCertValidation: true });
    expect(await plain({})).toBe(true);
    expect(await plain({ node: { metadata: { disable_spiffe_cert_validation: false } } })).toBe(false);
    await spiffe[Symbol.asyncDispose]();
  });

  test('all bundles in one plain list are refused: each domain would vouch for the others', async () => {
    const request = { resourceNames: ['ALL'], node: buildVersion(1, 17) };
    await expect(rig.stream().send(request).next()).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  test('a bundle without authorities is not sent: an Envoy would verify nothing', async () => {
    identities.change({ bundle: new Bundle({ trustDomain: ca.trustDomain }) });
    await expect(
      rig
        .stream()
        .send({ resourceNames: ['ROOTCA'] })
        .next(),
    ).rejects.toMatchObject({ code: 'invalid_argument' });
    const all = secretsOf(await rig.fetch({ resourceNames: ['ALL'] })).get('ALL');
    expect(Object.keys(all?.domains ?? {})).toEqual(['friend.test']);
  });
});

describe('stream', () => {
  test('sends at once, then again when the secret changes, with versions that count up and new nonces', async () => {
    const stream = rig.stream().send({ typeUrl: TYPE_URL, resourceNames: ['default'] });
    const first = await stream.next();
    expect(first).toMatchObject({ versionInfo: '1', typeUrl: TYPE_URL });
    stream.send({ resourceNames: ['default'], versionInfo: '1', responseNonce: first.nonce });
    const renewed = testIdentity(ca, '/web');
    identities.change({ identities: [renewed, db] });
    const second = await stream.next();
    expect(second.versionInfo).toBe('2');
    expect(second.nonce).not.toBe(first.nonce);
    expect(pemOf(secretsOf(second).get('default')?.certificate?.privateKey)).toBe(
      pemBlock('PRIVATE KEY', renewed.privateKeyPkcs8Der),
    );
  });

  test('sends nothing when what changed was not asked for', async () => {
    const stream = rig.stream().send({ resourceNames: ['ROOTCA'] });
    const first = await stream.next();
    identities.change({ identities: [testIdentity(ca, '/web')] });
    stream.send({ resourceNames: ['ROOTCA', 'default'], versionInfo: '1', responseNonce: first.nonce });
    const second = await stream.next();
    expect([...secretsOf(second).keys()].sort()).toEqual(['ROOTCA', 'default']);
    expect(second.versionInfo).toBe('2');
  });

  test('a change of names is answered, an equal list in another order is not', async () => {
    const stream = rig.stream().send({ resourceNames: ['default', 'ROOTCA'] });
    const first = await stream.next();
    stream.send({ resourceNames: ['ROOTCA', 'default'], versionInfo: '1', responseNonce: first.nonce });
    stream.send({ resourceNames: ['ROOTCA'], versionInfo: '1', responseNonce: first.nonce });
    expect([...secretsOf(await stream.next()).keys()]).toEqual(['ROOTCA']);
  });

  test('a stale nonce is passed over', async () => {
    const stream = rig.stream().send({ resourceNames: ['default'] });
    const first = await stream.next();
    stream.send({ resourceNames: ['nonsense'], versionInfo: '1', responseNonce: 'stale' });
    stream.send({ resourceNames: ['ROOTCA'], versionInfo: '1', responseNonce: first.nonce });
    expect([...secretsOf(await stream.next()).keys()]).toEqual(['ROOTCA']);
  });

  test('a rejection is logged and not answered with the same again', async () => {
    const stream = rig.stream().send({ resourceNames: ['default'] });
    const first = await stream.next();
    stream.send({
      resourceNames: ['default'],
      responseNonce: first.nonce,
      errorDetail: { code: 3, message: 'Failed to load certificate chain' },
    });
    await expect.poll(() => rig.logged.length).toBe(1);
    expect(JSON.parse(rig.logged[0] ?? '')).toMatchObject({ reason: 'Failed to load certificate chain', names: ['default'] });
    identities.change({ identities: [testIdentity(ca, '/web')] });
    expect((await stream.next()).versionInfo).toBe('2');
  });

  test('what is about to be signed is waited for', async () => {
    identities.change({ identities: [], pending: 1 });
    const stream = rig.stream().send({ resourceNames: ['default'] });
    const fetched = rig.fetch({ resourceNames: ['default'] });
    const response = stream.next();
    identities.change({ identities: [web], pending: 0 });
    expect([...secretsOf(await response).keys()]).toEqual(['default']);
    expect(await fetched).toMatchObject({ versionInfo: '', nonce: '' });
  });

  test('an identity that is taken away ends the stream', async () => {
    const stream = rig.stream().send({ resourceNames: ['default'] });
    await stream.next();
    identities.change({ identities: [], entries: [] });
    await expect(stream.next()).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  test('the node of the first request holds for the later ones', async () => {
    const stream = rig.stream().send({ resourceNames: ['default'], node: buildVersion(1, 17) });
    const first = await stream.next();
    stream.send({ resourceNames: ['ROOTCA'], versionInfo: '1', responseNonce: first.nonce });
    expect(secretsOf(await stream.next()).get('ROOTCA')?.validation?.trustedCa).toBeDefined();
  });

  test('ends with its client', async () => {
    const stream = rig.stream().send({ resourceNames: ['default'] });
    await stream.next();
    stream.end();
    await expect(stream.next()).rejects.toThrow('the stream ended');
  });

  test('is unavailable until the agent is synchronised', async () => {
    identities.ready = false;
    await expect(
      rig
        .stream()
        .send({ resourceNames: ['default'] })
        .next(),
    ).rejects.toMatchObject({ code: 'unavailable' });
  });
});

function pemBlock(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
