import { afterEach, describe, expect, test } from 'vitest';

import { IdentityError } from '../../../../core/errors.ts';
import type { X509SVIDResponse } from '../../../../proto/gen/spiffe/workload/workload_pb.ts';
import { X509Authority } from '../../../../spiffe/bundle.ts';
import { parseCertificate, type Certificate } from '../../../../spiffe/certificate.ts';
import { AgentRig, codeOf } from '../../../support/agent-rig.ts';
import { ownUid, type StandInCa } from '../../../support/stand-in-ca.ts';
import { TestCa } from '../../../support/test-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const started = async (prepare?: (ca: StandInCa) => void): Promise<AgentRig> =>
  (await AgentRig.start(prepare === undefined ? {} : { prepare })).ready();
const leafOf = (response: X509SVIDResponse, index = 0): Certificate =>
  parseCertificate(response.svids[index]?.x509Svid ?? new Uint8Array());
const serial = async (): Promise<string> => leafOf(await rig.fetchX509()).serialHex;
const MINUTE_MS = 60_000;

describe('rotation', () => {
  test('signs anew at half life, with a new key, and pushes it', async () => {
    rig = await started();
    const stream = rig.watchX509();
    const first = (await stream.next()).value as X509SVIDResponse;
    const pushed = stream.next();
    const startMs = rig.clock.nowMs();
    await rig.until(() => rig.ca.signed.length > 1, 5_000);
    const second = (await pushed).value as X509SVIDResponse;
    // Half of an hour, a tenth of that earlier or later.
    const passedMs = rig.clock.nowMs() - startMs;
    expect(passedMs).toBeGreaterThan(26 * MINUTE_MS);
    expect(passedMs).toBeLessThan(34 * MINUTE_MS);
    expect(Buffer.compare(leafOf(first).spki, leafOf(second).spki)).not.toBe(0);
    expect(second.svids[0]?.x509SvidKey).not.toEqual(first.svids[0]?.x509SvidKey);
  });

  test('signs an SVID of a few seconds anew at half of what is left of it, not at once', async () => {
    rig = await started((ca) => {
      ca.x509TtlMs = 10_000;
    });
    await rig.until(() => rig.ca.signed.length === 1, 100);
    await rig.pass(4_000);
    expect(rig.ca.signed).toHaveLength(1);
    await rig.pass(2_000);
    expect(rig.ca.signed).toHaveLength(2);
  });

  test('spreads the rotations of SVIDs that were signed together', async () => {
    rig = await started((ca) => {
      for (let index = 0; index < 20; index++) ca.put({ id: `e${index}`, path: `/e${index}`, selectors: ['unix:uid:4242'] });
    });
    await rig.until(() => rig.ca.signed.length === 21);
    const batches = rig.ca.calls.filter((name) => name === 'BatchNewX509SVID').length;
    await rig.until(() => rig.ca.signed.length === 42, 5_000);
    expect(rig.ca.calls.filter((name) => name === 'BatchNewX509SVID').length - batches).toBeGreaterThan(5);
  });

  test('serves what it has while the CA cannot sign, until it expires, and never expired ones', async () => {
    rig = await started();
    const before = await serial();
    rig.ca.signingFailure = new IdentityError('unavailable', 'the store is down');
    await rig.pass(59 * MINUTE_MS);
    expect(await serial()).toBe(before);
    const stream = rig.watchX509();
    await stream.next();
    const ended = codeOf(stream.next());
    await rig.pass(2 * MINUTE_MS);
    expect(await ended).toBe('unavailable');
    expect(await codeOf(rig.fetchX509())).toBe('unavailable');
    rig.ca.signingFailure = undefined;
    await rig.until(async () => (await codeOf(rig.fetchX509())) === undefined, 1_000);
    expect(await serial()).not.toBe(before);
  });

  test('never revives an expired SVID when the clock steps back', async () => {
    rig = await started();
    rig.ca.signingFailure = new IdentityError('unavailable', 'the store is down');
    await rig.pass(61 * MINUTE_MS);
    rig.clock.step(-2 * 60 * MINUTE_MS);
    expect(await codeOf(rig.fetchX509())).toBe('unavailable');
  });

  test('drops an SVID at once when the clock steps over its end', async () => {
    rig = await started();
    rig.ca.signingFailure = new IdentityError('unavailable', 'the store is down');
    rig.clock.step(2 * 60 * MINUTE_MS);
    expect(await codeOf(rig.fetchX509())).toBe('unavailable');
  });
});

describe('signing', () => {
  test('asks for many entries in batches, before anybody asks for them', async () => {
    rig = await started((ca) => {
      for (let index = 0; index < 120; index++) ca.put({ id: `e${index}`, path: `/e${index}`, selectors: ['unix:uid:4242'] });
    });
    await rig.until(() => rig.ca.signed.length === 121);
    expect(rig.ca.calls.filter((name) => name === 'BatchNewX509SVID')).toHaveLength(3);
  });

  test.each([
    ['the TTL', { more: { x509SvidTtl: 600 } }],
    ['DNS names', { more: { dnsNames: ['web.example.org'] } }],
    ['the SPIFFE ID', { path: '/renamed' }],
  ])('signs anew when %s changes', async (_what, change) => {
    rig = await started();
    const before = await serial();
    rig.ca.put({ id: 'web', path: '/web', selectors: [ownUid], ...change });
    await rig.until(async () => (await serial()) !== before);
  });

  test('does not sign anew for a change that the certificate does not show', async () => {
    rig = await started();
    const stream = rig.watchX509();
    const first = (await stream.next()).value as X509SVIDResponse;
    rig.ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { hint: 'new' } });
    const second = (await stream.next()).value as X509SVIDResponse;
    expect(second.svids[0]?.hint).toBe('new');
    expect(leafOf(second).serialHex).toBe(leafOf(first).serialHex);
    expect(rig.ca.signed).toEqual(['web']);
  });

  test('signs an entry without prefetch only when its workload asks', async () => {
    rig = await started((ca) => {
      ca.put({ id: 'web', path: '/web', selectors: [ownUid], disableX509SvidPrefetch: true });
      ca.put({ id: 'other', path: '/other', selectors: ['unix:uid:4242'], disableX509SvidPrefetch: true });
    });
    expect(rig.ca.signed).toEqual([]);
    await rig.fetchX509();
    expect(rig.ca.signed).toEqual(['web']);
  });

  test('tries again what the CA refused, and serves the rest meanwhile', async () => {
    rig = await started();
    rig.ca.signingFailure = new IdentityError('internal', 'no');
    rig.ca.put({ id: 'second', path: '/second', selectors: [ownUid], createdAt: 2 });
    await rig.until(() => rig.ca.calls.filter((name) => name === 'BatchNewX509SVID').length === 2);
    await rig.until(async () => (await rig.fetchX509()).svids.length === 1);
    rig.ca.signingFailure = undefined;
    await rig.until(async () => (await rig.fetchX509()).svids.length === 2, 200);
  });

  test('leaves out entries for SVID stores', async () => {
    rig = await started((ca) => ca.put({ id: 'store', path: '/store', selectors: [ownUid], more: { storeSvid: true } }));
    expect((await rig.fetchX509()).svids).toHaveLength(1);
  });
});

describe('authorities', () => {
  test('replaces at once what a tainted authority signed, and renews the agent’s own SVID', async () => {
    rig = await started();
    const stream = rig.watchX509();
    const first = (await stream.next()).value as X509SVIDResponse;
    rig.ca.rotate({ taintOld: true });
    let latest = first;
    while (leafOf(latest).serialHex === leafOf(first).serialHex) latest = (await stream.next()).value as X509SVIDResponse;
    const { authorityKeyId } = leafOf(latest);
    expect(Buffer.from(authorityKeyId ?? []).equals(rig.ca.signer.root.certificate.subjectKeyId ?? new Uint8Array())).toBe(true);
    await rig.until(() => rig.ca.calls.includes('RenewAgent'));
  });

  test('signs nothing anew when another authority is added or removed', async () => {
    rig = await started();
    const other = TestCa.create({ nowMs: rig.clock.nowMs() });
    const both = [new X509Authority(rig.ca.signer.root.der), new X509Authority(other.root.der)];
    const stream = rig.watchX509();
    await stream.next();
    rig.ca.putBundle(rig.ca.signer.bundle({ x509Authorities: both }));
    const { value } = await stream.next();
    expect((value as X509SVIDResponse).svids[0]?.bundle.length).toBe(rig.ca.signer.root.der.length + other.root.der.length);
    expect(rig.ca.signed).toEqual(['web']);
  });
});
