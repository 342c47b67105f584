import { verify } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { afterEach, describe, expect, test } from 'vitest';

import { ServerReflection, type ServerReflectionResponse } from '../../../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { SpiffeWorkloadAPI, type X509SVIDResponse } from '../../../../proto/gen/spiffe/workload/workload_pb.ts';
import { parseCertificate } from '../../../../spiffe/certificate.ts';
import { AgentRig, codeOf, headers } from '../../../support/agent-rig.ts';
import { ownUid } from '../../../support/stand-in-ca.ts';
import { TestCa } from '../../../support/test-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const METHODS = [
  'fetchX509SVID',
  'fetchX509Bundles',
  'fetchJWTSVID',
  'fetchJWTBundles',
  'validateJWTSVID',
  'fetchWITSVID',
  'fetchWITBundles',
];
const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('utf8');

describe('every RPC', () => {
  const calls = (client: AgentRig['workload'], options: { headers?: Record<string, string> | Headers }) => ({
    fetchX509SVID: client.fetchX509SVID({}, options),
    fetchX509Bundles: client.fetchX509Bundles({}, options),
    fetchJWTSVID: client.fetchJWTSVID({ audience: ['a'] }, options),
    fetchJWTBundles: client.fetchJWTBundles({}, options),
    validateJWTSVID: client.validateJWTSVID({ audience: 'a', svid: 'x' }, options),
    fetchWITSVID: client.fetchWITSVID({}, options),
    fetchWITBundles: client.fetchWITBundles({}, options),
  });
  const codesOf = async (made: ReturnType<typeof calls>): Promise<Record<string, string | undefined>> => {
    const codes = Object.entries(made).map(async ([name, call]) => [name, await codeOf(call)] as const);
    return Object.fromEntries(await Promise.all(codes));
  };
  const all = (code: string) => Object.fromEntries(METHODS.map((name) => [name, code]));

  test('[Workload Endpoint §3, §6] is refused with INVALID_ARGUMENT without the security header, or with another value', async () => {
    rig = await (await AgentRig.start()).ready();
    expect(await codesOf(calls(rig.workload, {}))).toEqual(all('invalid_argument'));
    const wrong = { headers: { 'workload.spiffe.io': 'True' } };
    expect(await codesOf(calls(rig.workload, wrong))).toEqual(all('invalid_argument'));
    const twice = {
      headers: new Headers([
        ['workload.spiffe.io', 'true'],
        ['workload.spiffe.io', 'false'],
      ]),
    };
    expect(await codesOf(calls(rig.workload, twice))).toEqual(all('invalid_argument'));
  });

  test('[Workload Endpoint §6] answers UNAVAILABLE until the agent has synchronised', async () => {
    rig = await AgentRig.start({ prepare: async (ca) => void (await ca.down()) });
    expect(await codesOf(calls(rig.workload, { headers }))).toEqual(all('unavailable'));
  });

  test('[Workload Endpoint §6] [Workload API §5.2, §5.2.1, §5.2.2, §6.2, §7.2] answers PERMISSION_DENIED to a caller without identity', async () => {
    rig = await (await AgentRig.start({ prepare: (ca) => ca.remove('web') })).ready();
    const { validateJWTSVID, ...codes } = await codesOf(calls(rig.workload, { headers }));
    expect({ ...codes, validateJWTSVID: 'permission_denied' }).toEqual(all('permission_denied'));
    // Whoever asks may have a token validated against the bundle of the trust domain, as with SPIRE.
    expect(validateJWTSVID).toBe('invalid_argument');
  });
});

describe('the endpoint', () => {
  test('[Workload Endpoint §2, §3.1, §5, §7] [Workload API §1, §2] serves the standard’s service, unchanged, on a local socket, without TLS or client authentication', async () => {
    rig = await (await AgentRig.start()).ready();
    // The client brings nothing but the security header: the kernel says who it is.
    expect((await rig.fetchX509()).svids).toHaveLength(1);
    expect((await stat(rig.socket)).isSocket()).toBe(true);
    expect(SpiffeWorkloadAPI.methods.map(({ name }) => name)).toEqual([
      'FetchX509SVID',
      'FetchX509Bundles',
      'FetchJWTSVID',
      'FetchJWTBundles',
      'ValidateJWTSVID',
      'FetchWITSVID',
      'FetchWITBundles',
    ]);
  });

  test('[Workload Endpoint §7] serves reflection', async () => {
    rig = await (await AgentRig.start()).ready();
    async function* ask() {
      yield { messageRequest: { case: 'listServices', value: '' } } as const;
    }
    const answers = rig.client(ServerReflection).serverReflectionInfo(ask())[Symbol.asyncIterator]();
    const { messageResponse } = ((await answers.next()).value as ServerReflectionResponse | undefined) ?? {};
    const names = messageResponse?.case === 'listServicesResponse' ? messageResponse.value.service.map(({ name }) => name) : [];
    expect(names).toContain('SpiffeWorkloadAPI');
  });

  test('[Workload API §4.3] the first message comes at once, also to the twentieth stream of a connection', async () => {
    rig = await (await AgentRig.start()).ready();
    const { workload } = rig;
    const streams = Array.from({ length: 20 }, () => workload.fetchX509SVID({}, { headers })[Symbol.asyncIterator]());
    const first = await Promise.all(streams.map(async (stream) => (await stream.next()).value as X509SVIDResponse));
    expect(first.every(({ svids }) => svids.length === 1)).toBe(true);
  });
});

describe('FetchX509SVID', () => {
  test('[Workload API §5.1, §5.2.1] answers SVID, leaf first, unencrypted PKCS#8 key, bundle and hint, and the key is the SVID’s', async () => {
    rig = await (
      await AgentRig.start({
        prepare: (ca) => ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { hint: 'internal' } }),
      })
    ).ready();
    const { svids, federatedBundles } = await rig.fetchX509();
    expect(svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([['spiffe://example.org/web', 'internal']]);
    const [svid] = svids;
    const leaf = parseCertificate(svid?.x509Svid ?? new Uint8Array());
    expect(leaf.uriSans).toEqual(['spiffe://example.org/web']);
    expect(Buffer.from(svid?.bundle ?? []).equals(rig.ca.signer.root.der)).toBe(true);
    const { createPrivateKey, sign } = await import('node:crypto');
    const key = createPrivateKey({ key: Buffer.from(svid?.x509SvidKey ?? []), format: 'der', type: 'pkcs8' });
    const data = Buffer.from('data');
    expect(verify('sha256', data, leaf.publicKey(), sign('sha256', data, key))).toBe(true);
    expect(federatedBundles).toEqual({});
  });

  test('[Workload API §5.2.1, §8] puts the oldest entry first and keeps a hint for the oldest entry only', async () => {
    rig = await (
      await AgentRig.start({
        prepare: (ca) => {
          ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 20, more: { hint: 'same' } });
          ca.put({ id: 'a', path: '/a', selectors: [ownUid], createdAt: 30, more: { hint: 'same' } });
          ca.put({ id: 'c', path: '/c', selectors: [ownUid], createdAt: 10 });
        },
      })
    ).ready();
    const { svids } = await rig.fetchX509();
    expect(svids.map(({ spiffeId }) => spiffeId.slice('spiffe://example.org'.length))).toEqual(['/web', '/c', '/b']);
  });

  test('gives only entries all of whose selectors the caller has', async () => {
    rig = await (
      await AgentRig.start({ prepare: (ca) => ca.put({ id: 'x', path: '/x', selectors: [ownUid, 'unix:uid:424242'] }) })
    ).ready();
    const { svids } = await rig.fetchX509();
    expect(svids).toHaveLength(1);
  });

  test('[Workload API §4.6] carries the bundles that its entries federate with, and no others', async () => {
    const foreign = TestCa.create({ trustDomain: 'foreign.org' });
    const other = TestCa.create({ trustDomain: 'other.org' });
    rig = await (
      await AgentRig.start({
        prepare: (ca) => {
          ca.putBundle(foreign.bundle());
          ca.putBundle(other.bundle());
          ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { federatesWith: ['foreign.org'] } });
        },
      })
    ).ready();
    const { federatedBundles } = await rig.fetchX509();
    expect(Object.keys(federatedBundles)).toEqual(['spiffe://foreign.org']);
    expect(Buffer.from(federatedBundles['spiffe://foreign.org'] ?? []).equals(foreign.root.der)).toBe(true);
  });

  test('[Workload API §4.3] pushes the full set when an entry comes, and takes back what goes', async () => {
    rig = await (await AgentRig.start()).ready();
    const stream = rig.watchX509();
    const ids = async (): Promise<string[]> =>
      ((await stream.next()).value?.svids ?? []).map(({ spiffeId }: { spiffeId: string }) => spiffeId);
    expect(await ids()).toEqual(['spiffe://example.org/web']);
    rig.ca.put({ id: 'second', path: '/second', selectors: [ownUid], createdAt: 2 });
    expect(await ids()).toEqual(['spiffe://example.org/web', 'spiffe://example.org/second']);
    rig.ca.remove('web');
    expect(await ids()).toEqual(['spiffe://example.org/second']);
  });

  test('[Workload API §5.2.1] ends with PERMISSION_DENIED when the last identity is withdrawn', async () => {
    rig = await (await AgentRig.start()).ready();
    const stream = rig.watchX509();
    await stream.next();
    rig.ca.remove('web');
    const ended = stream.next();
    expect(await codeOf(ended)).toBe('permission_denied');
  });

  test('[Workload API §4.3] pushes a new bundle, and nothing when nothing changed', async () => {
    rig = await (await AgentRig.start()).ready();
    const stream = rig.watchX509();
    await stream.next();
    // Touches no certificate and nothing that the caller sees.
    rig.ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { downstream: true } });
    rig.ca.rotate();
    const { value } = await stream.next();
    expect(value?.svids[0]?.bundle.length).toBeGreaterThan(rig.ca.signer.root.der.length);
  });
});

describe('while an X.509-SVID is being signed', () => {
  const isSigning = async (): Promise<void> =>
    rig.until(() => rig.ca.calls.at(-1) === 'BatchNewX509SVID' && rig.ca.signed.length < 2);

  test('[Workload API §4.3] the first message waits for it, so that it is the full set', async () => {
    const gate = Promise.withResolvers<void>();
    rig = await (await AgentRig.start({ prepare: (ca) => void (ca.signingGate = gate.promise) })).ready();
    const first = rig.fetchX509();
    await isSigning();
    await rig.pass(0);
    gate.resolve();
    expect((await first).svids).toHaveLength(1);
  });

  test('[Workload API §4.3] a held stream pushes the full set once, when it is signed', async () => {
    rig = await (await AgentRig.start()).ready();
    const stream = rig.watchX509();
    await stream.next();
    const gate = Promise.withResolvers<void>();
    rig.ca.signingGate = gate.promise;
    rig.ca.put({ id: 'second', path: '/second', selectors: [ownUid], createdAt: 2 });
    const pushed = stream.next();
    await rig.until(() => rig.ca.calls.filter((name) => name === 'BatchNewX509SVID').length === 2);
    gate.resolve();
    expect((await pushed).value?.svids).toHaveLength(2);
  });

  test('a caller that goes away meanwhile leaves nothing behind, and others are served', async () => {
    const gate = Promise.withResolvers<void>();
    rig = await (await AgentRig.start({ prepare: (ca) => void (ca.signingGate = gate.promise) })).ready();
    const gone = rig.workload.fetchX509SVID({}, { headers, signal: AbortSignal.timeout(50) });
    expect(await codeOf(gone)).toBeOneOf(['cancelled', 'deadline_exceeded']);
    gate.resolve();
    expect((await rig.fetchX509()).svids).toHaveLength(1);
  });

  test('an SVID of the ID that the entry had before is served no more', async () => {
    rig = await (await AgentRig.start()).ready();
    await rig.fetchX509();
    const gate = Promise.withResolvers<void>();
    rig.ca.signingGate = gate.promise;
    rig.ca.put({ id: 'web', path: '/renamed', selectors: [ownUid] });
    await rig.until(() => rig.ca.calls.filter((name) => name === 'BatchNewX509SVID').length === 2);
    const next = rig.fetchX509();
    gate.resolve();
    expect((await next).svids.map(({ spiffeId }) => spiffeId)).toEqual(['spiffe://example.org/renamed']);
  });
});

describe('bundles', () => {
  test('[Workload API §5.2.2] FetchX509Bundles answers the own bundle and federated ones by trust domain ID', async () => {
    const foreign = TestCa.create({ trustDomain: 'foreign.org' });
    rig = await (
      await AgentRig.start({
        prepare: (ca) => {
          ca.putBundle(foreign.bundle());
          ca.put({ id: 'web', path: '/web', selectors: [ownUid], more: { federatesWith: ['foreign.org'] } });
        },
      })
    ).ready();
    const { value } = await rig.workload.fetchX509Bundles({}, { headers })[Symbol.asyncIterator]().next();
    expect(Object.keys(value?.bundles ?? {}).sort()).toEqual(['spiffe://example.org', 'spiffe://foreign.org']);
    expect(Buffer.from(value?.bundles['spiffe://example.org'] ?? []).equals(rig.ca.signer.root.der)).toBe(true);
  });

  test('[Workload API §6.2.2] FetchJWTBundles answers JWK sets with JWT keys only, and pushes changes', async () => {
    rig = await (await AgentRig.start()).ready();
    const stream = rig.workload.fetchJWTBundles({}, { headers })[Symbol.asyncIterator]();
    const read = async (): Promise<unknown> => JSON.parse(text((await stream.next()).value?.bundles['spiffe://example.org']));
    expect(await read()).toMatchObject({ keys: [{ kty: 'EC', crv: 'P-256', kid: 'jwt-key-1' }] });
    rig.ca.putBundle(rig.ca.signer.bundle({ jwtAuthorities: [] }));
    expect(await read()).toEqual({ keys: [] });
  });

  test('[Workload API §7.2.2] FetchWITBundles answers JWK sets with WIT keys only, each with a kid', async () => {
    rig = await (await AgentRig.start()).ready();
    const { value } = await rig.workload.fetchWITBundles({}, { headers })[Symbol.asyncIterator]().next();
    expect(JSON.parse(value?.bundles['spiffe://example.org'] ?? '')).toMatchObject({ keys: [{ kid: 'wit-key-1' }] });
  });
});
