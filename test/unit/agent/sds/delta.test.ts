import { afterEach, beforeEach, expect, test } from 'vitest';
import { Bundle } from '../../../../spiffe/bundle.ts';
import { type SdsRig, secretsOf, serveSds } from '../../../support/sds-rig.ts';
import { StandInIdentities, testIdentity } from '../../../support/stand-in-identities.ts';
import { TestCa } from '../../../support/test-ca.ts';

const ca = TestCa.create({ trustDomain: 'example.org' });
const web = testIdentity(ca, '/web');
const db = testIdentity(ca, '/db');

let identities: StandInIdentities;
let rig: SdsRig;
beforeEach(async () => {
  identities = new StandInIdentities(ca, [web]);
  rig = await serveSds(identities);
});
afterEach(() => rig[Symbol.asyncDispose]());

test('sends what is subscribed to, then only what changed', async () => {
  const stream = rig.delta().send({ resourceNamesSubscribe: ['default', 'ROOTCA'] });
  const first = await stream.next();
  expect([...secretsOf(first).keys()].sort()).toEqual(['ROOTCA', 'default']);
  expect(first).toMatchObject({ systemVersionInfo: '1', removedResources: [] });
  stream.send({ responseNonce: first.nonce });
  identities.change({ identities: [testIdentity(ca, '/web')] });
  const second = await stream.next();
  expect([...secretsOf(second).keys()]).toEqual(['default']);
  expect(second.systemVersionInfo).toBe('2');
  expect(second.nonce).not.toBe(first.nonce);
});

test('a subscription that is added or ended touches nothing else', async () => {
  const stream = rig.delta().send({ resourceNamesSubscribe: ['default'] });
  await stream.next();
  stream.send({ resourceNamesSubscribe: ['ROOTCA'], resourceNamesUnsubscribe: ['default'] });
  expect([...secretsOf(await stream.next()).keys()]).toEqual(['ROOTCA']);
  identities.change({ identities: [testIdentity(ca, '/web')], bundle: TestCa.create({ trustDomain: 'example.org' }).bundle() });
  expect([...secretsOf(await stream.next()).keys()]).toEqual(['ROOTCA']);
});

test('a secret that is asked for again is sent again', async () => {
  const stream = rig.delta().send({ resourceNamesSubscribe: ['default'] });
  await stream.next();
  stream.send({ resourceNamesSubscribe: ['default'] });
  expect([...secretsOf(await stream.next()).keys()]).toEqual(['default']);
});

test('a name without entitlement is removed once, and sent when it is there', async () => {
  const stream = rig.delta().send({ resourceNamesSubscribe: ['spiffe://example.org/db', 'default'] });
  const first = await stream.next();
  expect(first.removedResources).toEqual(['spiffe://example.org/db']);
  identities.change({ identities: [web, db] });
  const second = await stream.next();
  expect([...secretsOf(second).keys()]).toEqual(['spiffe://example.org/db']);
  identities.change({ identities: [web] });
  expect((await stream.next()).removedResources).toEqual(['spiffe://example.org/db']);
});

test('nothing is called removed while something is being signed', async () => {
  identities.change({ identities: [], pending: 1 });
  const stream = rig.delta().send({ resourceNamesSubscribe: ['default', 'ROOTCA'] });
  const first = await stream.next();
  expect([...secretsOf(first).keys()]).toEqual(['ROOTCA']);
  expect(first.removedResources).toEqual([]);
  identities.change({ identities: [web], pending: 0 });
  expect([...secretsOf(await stream.next()).keys()]).toEqual(['default']);
});

test('a first request without names asks for all', async () => {
  const stream = rig.delta().send({});
  expect([...secretsOf(await stream.next()).keys()].sort()).toEqual(['spiffe://example.org', 'spiffe://example.org/web']);
  identities.change({ identities: [db] });
  const second = await stream.next();
  expect([...secretsOf(second).keys()]).toEqual(['spiffe://example.org/db']);
  expect(second.removedResources).toEqual(['spiffe://example.org/web']);
});

test('after a reconnect only what changed in between is sent', async () => {
  const first = await rig
    .delta()
    .send({ resourceNamesSubscribe: ['default', 'ROOTCA'] })
    .next();
  const initialResourceVersions = Object.fromEntries(first.resources.map(({ name, version }) => [name, version]));
  identities.change({ identities: [testIdentity(ca, '/web')] });
  const again = rig.delta().send({ resourceNamesSubscribe: ['default', 'ROOTCA'], initialResourceVersions });
  expect([...secretsOf(await again.next()).keys()]).toEqual(['default']);
});

test('versions tell nothing of a key: an equal certificate has an equal version', async () => {
  const version = async () =>
    (
      await rig
        .delta()
        .send({ resourceNamesSubscribe: ['default'] })
        .next()
    ).resources[0]?.version;
  const before = await version();
  identities.change({ identities: [{ ...web, privateKeyPkcs8Der: db.privateKeyPkcs8Der }] });
  expect(await version()).toBe(before);
});

test('a bundle that lost its last authority is removed, not emptied', async () => {
  const stream = rig.delta().send({ resourceNamesSubscribe: ['ROOTCA'] });
  await stream.next();
  identities.change({ bundle: new Bundle({ trustDomain: ca.trustDomain }) });
  expect(await stream.next()).toMatchObject({ resources: [], removedResources: ['ROOTCA'] });
});

test('something else than secrets is refused, and a rejection is logged', async () => {
  const stream = rig.delta().send({ resourceNamesSubscribe: ['default'] });
  const first = await stream.next();
  stream.send({ responseNonce: first.nonce, errorDetail: { code: 3, message: 'bad key' } });
  await expect.poll(() => rig.logged.length).toBe(1);
  stream.send({ typeUrl: 'type.googleapis.com/envoy.Cluster' });
  await expect(stream.next()).rejects.toMatchObject({ code: 'invalid_argument' });
});
