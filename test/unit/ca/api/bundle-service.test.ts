import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  BatchDeleteFederatedBundleRequest_Mode as Mode,
  Bundle,
} from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { SVID } from '../../../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestTestAgent } from '../../../support/test-agent.ts';
import { TestCa } from '../../../support/test-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';

let ca: RunningCa;
beforeAll(async () => {
  ca = await RunningCa.start();
});
afterAll(() => ca[Symbol.asyncDispose]());

const bundles = () => ca.local(Bundle);
const foreign = TestCa.create({ trustDomain: 'foreign.example' });
const jwtKey = { keyId: 'foreign-1', publicKey: createTestKey().spki, expiresAt: 4_000_000_000n };
const bundleOf = (trustDomain: string) => ({
  trustDomain,
  x509Authorities: [{ asn1: foreign.root.der }],
  jwtAuthorities: [jwtKey],
  refreshHint: 60n,
  sequenceNumber: 7n,
});

describe('the own bundle', () => {
  test('[SPIRE bundle.v1.GetBundle] anyone may read it', async () => {
    const bundle = await ca.remote().client(Bundle).getBundle({});
    expect(bundle.trustDomain).toBe('example.org');
    expect([bundle.x509Authorities.length, bundle.jwtAuthorities.length, bundle.witAuthorities.length]).toEqual([1, 1, 1]);
    const masked = await bundles().getBundle({ outputMask: { sequenceNumber: true } });
    expect([masked.x509Authorities.length, masked.jwtAuthorities.length]).toEqual([0, 0]);
  });

  test('[SPIRE bundle.v1.AppendBundle] adds what is not there yet', async () => {
    const { sequenceNumber: before } = await bundles().getBundle({});
    const request = { x509Authorities: [{ asn1: foreign.root.der }], jwtAuthorities: [{ ...jwtKey, keyId: 'appended' }] };
    const after = await bundles().appendBundle(request);
    expect([after.x509Authorities.length, after.jwtAuthorities.length]).toEqual([2, 2]);
    expect(after.sequenceNumber).toBeGreaterThan(before);
    const again = await bundles().appendBundle({ ...request, outputMask: { x509Authorities: true } });
    expect([again.x509Authorities.length, again.jwtAuthorities.length]).toEqual([2, 0]);
    expect((await bundles().getBundle({})).sequenceNumber).toBe(after.sequenceNumber);
    const other = { jwtAuthorities: [{ ...jwtKey, keyId: 'appended', publicKey: createTestKey().spki }] };
    expect(await failureOf(bundles().appendBundle(other))).toMatchObject({ code: 'already_exists' });
  });

  test.each([
    ['no authorities', {}],
    ['x509_authorities[0]', { x509Authorities: [{ asn1: Buffer.from('x') }] }],
    ['jwt_authorities[0].key_id', { jwtAuthorities: [{ publicKey: createTestKey().spki }] }],
    ['jwt_authorities[0].public_key', { jwtAuthorities: [{ keyId: 'a', publicKey: Buffer.from('x') }] }],
    ['jwt_authorities[0].expires_at', { jwtAuthorities: [{ ...jwtKey, expiresAt: -1n }] }],
  ])('[SPIRE bundle.v1.AppendBundle] names %s', async (text, request) => {
    const failure = await failureOf(bundles().appendBundle(request));
    expect(failure.code).toBe('invalid_argument');
    expect(failure.message).toContain(text);
  });

  test('[SPIRE bundle.v1.PublishJWTAuthority, PublishWITAuthority] a downstream CA publishes its keys', async () => {
    const path = '/downstream';
    const spiffeId = { trustDomain: 'example.org', path };
    await ca.local(Entry).batchCreateEntry({
      entries: [{ spiffeId, parentId: { ...spiffeId, path: '/x' }, selectors: [{ type: 'a', value: 'b' }], downstream: true }],
    });
    const key = createTestKey();
    const { svid } = await ca.local(SVID).mintX509SVID({ csr: createTestCsr({ key, uris: [`spiffe://example.org${path}`] }) });
    const downstream = ca.remote({ chain: svid?.certChain ?? [], key }).client(Bundle);
    const jwt = await downstream.publishJWTAuthority({ jwtAuthority: { ...jwtKey, keyId: 'down-jwt' } });
    expect(jwt.jwtAuthorities.map(({ keyId }) => keyId)).toContain('down-jwt');
    const wit = await downstream.publishWITAuthority({ witAuthority: { ...jwtKey, keyId: 'down-wit' } });
    expect(wit.witAuthorities.map(({ keyId }) => keyId)).toContain('down-wit');
    expect(await failureOf(downstream.publishJWTAuthority({}))).toMatchObject({ code: 'invalid_argument' });
    expect(await failureOf(downstream.publishJWTAuthority({ jwtAuthority: { ...jwtKey, keyId: '' } }))).toMatchObject({
      code: 'invalid_argument',
    });
  });
});

describe('federated bundles', () => {
  test('[SPIRE bundle.v1.BatchCreateFederatedBundle] makes each that there is not', async () => {
    const { results } = await bundles().batchCreateFederatedBundle({
      bundle: [
        bundleOf('create.example'),
        bundleOf('create.example'),
        bundleOf('example.org'),
        bundleOf('NO'),
        { ...bundleOf('bad.example'), x509Authorities: [{ asn1: Buffer.from('x') }] },
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 6, 3, 3, 3]);
    expect(results[0]?.bundle).toMatchObject({ trustDomain: 'create.example', refreshHint: 60n, sequenceNumber: 7n });
  });

  test('[SPIRE bundle.v1.BatchUpdateFederatedBundle] changes what the input mask names', async () => {
    await bundles().batchSetFederatedBundle({ bundle: [bundleOf('update.example')] });
    const change = { trustDomain: 'update.example', refreshHint: 5n };
    const request = { bundle: [change, bundleOf('none.example')], inputMask: { refreshHint: true } };
    const { results } = await bundles().batchUpdateFederatedBundle(request);
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5]);
    expect(results[0]?.bundle).toMatchObject({ refreshHint: 5n, sequenceNumber: 7n });
    expect(results[0]?.bundle?.x509Authorities).toHaveLength(1);
  });

  test('[SPIRE bundle.v1.BatchSetFederatedBundle] makes or replaces', async () => {
    await bundles().batchSetFederatedBundle({ bundle: [bundleOf('set.example')] });
    const { results } = await bundles().batchSetFederatedBundle({
      bundle: [{ trustDomain: 'set.example' }, { trustDomain: 'example.org' }],
      outputMask: { x509Authorities: true },
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 3]);
    expect(results[0]?.bundle?.x509Authorities).toEqual([]);
  });

  test('[SPIRE bundle.v1.GetFederatedBundle] agents may read it too', async () => {
    await bundles().batchSetFederatedBundle({ bundle: [bundleOf('get.example')] });
    const agent = await attestTestAgent(ca);
    expect(await agent.connection.client(Bundle).getFederatedBundle({ trustDomain: 'get.example' })).toMatchObject({
      sequenceNumber: 7n,
    });
    expect(await failureOf(bundles().getFederatedBundle({ trustDomain: 'none.example' }))).toMatchObject({ code: 'not_found' });
    expect(await failureOf(bundles().getFederatedBundle({ trustDomain: 'example.org' }))).toMatchObject({
      code: 'invalid_argument',
    });
    expect(await failureOf(bundles().getFederatedBundle({}))).toMatchObject({ code: 'invalid_argument' });
  });

  test('[SPIRE bundle.v1.ListFederatedBundles] pages, and [SPIRE bundle.v1.CountBundles] counts the own one too', async () => {
    await bundles().batchSetFederatedBundle({ bundle: [bundleOf('list-1.example'), bundleOf('list-2.example')] });
    const all = await bundles().listFederatedBundles({});
    expect(all.bundles.map(({ trustDomain }) => trustDomain)).not.toContain('example.org');
    expect((await bundles().countBundles({})).count).toBe(all.bundles.length + 1);
    const first = await bundles().listFederatedBundles({ pageSize: 1 });
    const second = await bundles().listFederatedBundles({ pageSize: 1, pageToken: first.nextPageToken });
    expect(second.bundles[0]?.trustDomain).toBe(all.bundles[1]?.trustDomain);
  });

  test('[SPIRE bundle.v1.BatchDeleteFederatedBundle] minds the entries that federate, by its mode', async () => {
    const names = ['restrict.example', 'dissociate.example', 'delete.example'];
    await bundles().batchSetFederatedBundle({ bundle: names.map((trustDomain) => ({ trustDomain })) });
    const id = (path: string) => ({ trustDomain: 'example.org', path });
    const { results: made } = await ca.local(Entry).batchCreateEntry({
      entries: names.map((name, index) => ({
        spiffeId: id(`/delete-${index}`),
        parentId: id('/x'),
        selectors: [{ type: 'a', value: 'b' }],
        federatesWith: [name],
      })),
    });
    const remove = async (mode: Mode, ...trustDomains: string[]) => {
      const { results } = await bundles().batchDeleteFederatedBundle({ mode, trustDomains });
      return results.map(({ status }) => status?.code);
    };
    expect(await remove(Mode.RESTRICT, 'restrict.example', 'none.example', 'example.org', '?')).toEqual([9, 5, 3, 3]);
    expect(await remove(Mode.DISSOCIATE, 'dissociate.example')).toEqual([0]);
    expect(await remove(Mode.DELETE, 'delete.example')).toEqual([0]);
    const [, dissociated, deleted] = made.map(({ entry }) => entry?.id ?? '');
    expect((await ca.local(Entry).getEntry({ id: dissociated ?? '' })).federatesWith).toEqual([]);
    expect(await failureOf(ca.local(Entry).getEntry({ id: deleted ?? '' }))).toMatchObject({ code: 'not_found' });
    // The cast is sound: an unknown number is what is tested.
    expect(await failureOf(bundles().batchDeleteFederatedBundle({ mode: 99 as Mode }))).toMatchObject({
      code: 'invalid_argument',
    });
  });
});
