import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { TrustDomain } from '../../../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import type {
  FederationRelationship,
  FederationRelationshipSchema,
} from '../../../../proto/gen/spire/api/types/federationrelationship_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';

type Init = Exclude<MessageInitShape<typeof FederationRelationshipSchema>, FederationRelationship>;

let ca: RunningCa;
beforeAll(async () => {
  ca = await RunningCa.start();
});
afterAll(() => ca[Symbol.asyncDispose]());

const service = () => ca.local(TrustDomain);
const web = (trustDomain: string, change: Init = {}): Init => ({
  trustDomain,
  bundleEndpointUrl: `https://${trustDomain}/bundle`,
  bundleEndpointProfile: { case: 'httpsWeb', value: {} },
  ...change,
});
const spiffe = (endpointSpiffeId: string): NonNullable<Init['bundleEndpointProfile']> => ({
  case: 'httpsSpiffe',
  value: { endpointSpiffeId },
});

describe('trustdomain.v1', () => {
  test('[SPIRE trustdomain.v1.BatchCreateFederationRelationship] makes relationships, with the bundle to begin with', async () => {
    const { results } = await service().batchCreateFederationRelationship({
      federationRelationships: [
        web('create.example', { trustDomainBundle: { trustDomain: 'create.example', sequenceNumber: 3n } }),
        web('create.example'),
        web('example.org'),
        web('spiffe.example', { bundleEndpointProfile: spiffe('spiffe://spiffe.example/server') }),
      ],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 6, 3, 0]);
    expect(results[0]?.federationRelationship?.trustDomainBundle?.sequenceNumber).toBe(3n);
    expect(results[3]?.federationRelationship?.bundleEndpointProfile).toMatchObject(spiffe('spiffe://spiffe.example/server'));
    expect(await ca.local(Bundle).getFederatedBundle({ trustDomain: 'create.example' })).toMatchObject({ sequenceNumber: 3n });
  });

  const faults: readonly [string, Init][] = [
    ['trust_domain', web('')],
    ['trust_domain', web('UPPER')],
    ['bundle_endpoint_url', web('a.example', { bundleEndpointUrl: '' })],
    ['bundle_endpoint_url', web('a.example', { bundleEndpointUrl: 'http://a.example' })],
    ['bundle_endpoint_url', web('a.example', { bundleEndpointUrl: 'https://' })],
    ['bundle_endpoint_url', web('a.example', { bundleEndpointUrl: 'https:///path' })],
    ['bundle_endpoint_url', web('a.example', { bundleEndpointUrl: 'https://user:pw@a.example' })],
    ['bundle_endpoint_url', web('a.example', { bundleEndpointUrl: 'https://@a.example' })],
    ['bundle_endpoint_url', web('a.example', { bundleEndpointUrl: 'https://a.example/%zz' })],
    ['bundle_endpoint_profile', web('a.example', { bundleEndpointProfile: { case: undefined } })],
    ['endpoint_spiffe_id', web('a.example', { bundleEndpointProfile: spiffe('https://x') })],
    ['trust_domain_bundle', web('a.example', { trustDomainBundle: { trustDomain: 'b.example' } })],
    ['x509_authorities[0]', web('a.example', { trustDomainBundle: { trustDomain: 'a.example', x509Authorities: [{}] } })],
  ];
  test.each(faults)(
    '[SPIRE trustdomain.v1.BatchCreateFederationRelationship] names a faulty %s (%#)',
    async (field, relationship) => {
      const { results } = await service().batchCreateFederationRelationship({ federationRelationships: [relationship] });
      expect(results[0]?.status?.code).toBe(3);
      expect(results[0]?.status?.message).toContain(field);
    },
  );

  test('[SPIRE trustdomain.v1.BatchUpdateFederationRelationship] changes what the input mask names', async () => {
    await service().batchCreateFederationRelationship({ federationRelationships: [web('update.example')] });
    const change = web('update.example', {
      bundleEndpointUrl: 'https://new.example/',
      bundleEndpointProfile: spiffe('spiffe://update.example/s'),
    });
    const { results } = await service().batchUpdateFederationRelationship({
      federationRelationships: [change, web('none.example')],
      inputMask: { bundleEndpointUrl: true },
      outputMask: { bundleEndpointUrl: true, bundleEndpointProfile: true },
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5]);
    expect(results[0]?.federationRelationship).toMatchObject({ bundleEndpointUrl: 'https://new.example/' });
    expect(results[0]?.federationRelationship?.bundleEndpointProfile.case).toBe('httpsWeb');
  });

  test('[SPIRE trustdomain.v1.GetFederationRelationship, ListFederationRelationships] show them by mask and page', async () => {
    await service().batchCreateFederationRelationship({ federationRelationships: [web('get-1.example'), web('get-2.example')] });
    const masked = await service().getFederationRelationship({ trustDomain: 'get-1.example', outputMask: {} });
    expect(masked).toMatchObject({ trustDomain: 'get-1.example', bundleEndpointUrl: '' });
    expect(await failureOf(service().getFederationRelationship({ trustDomain: 'none.example' }))).toMatchObject({
      code: 'not_found',
    });
    expect(await failureOf(service().getFederationRelationship({}))).toMatchObject({ code: 'invalid_argument' });
    const all = await service().listFederationRelationships({});
    const page = await service().listFederationRelationships({ pageSize: 1 });
    const next = await service().listFederationRelationships({ pageSize: 1, pageToken: page.nextPageToken });
    expect(next.federationRelationships[0]?.trustDomain).toBe(all.federationRelationships[1]?.trustDomain);
  });

  test('[SPIRE trustdomain.v1.BatchDeleteFederationRelationship] deletes each for itself', async () => {
    await service().batchCreateFederationRelationship({ federationRelationships: [web('delete.example')] });
    const { results } = await service().batchDeleteFederationRelationship({
      trustDomains: ['delete.example', 'delete.example', '', '?'],
    });
    expect(results.map(({ status }) => status?.code)).toEqual([0, 5, 3, 3]);
    expect(results[0]?.trustDomain).toBe('delete.example');
  });

  test('trustdomain.v1.RefreshBundle calls no special address, and says that the relationship is at fault', async () => {
    const bundleEndpointUrl = 'https://169.254.169.254/latest/meta-data';
    await service().batchCreateFederationRelationship({
      federationRelationships: [web('metadata.example', { bundleEndpointUrl })],
    });
    expect(await failureOf(service().refreshBundle({ trustDomain: 'metadata.example' }))).toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('federation.allowPrivateHosts'),
    });
  });

  test('[SPIRE trustdomain.v1.RefreshBundle] knows only its relationships', async () => {
    expect(await failureOf(service().refreshBundle({ trustDomain: 'nobody.example' }))).toMatchObject({ code: 'not_found' });
    expect(await failureOf(service().refreshBundle({}))).toMatchObject({ code: 'invalid_argument' });
  });
});
