import { create, type MessageInitShape } from '@bufbuild/protobuf';

import { TrustDomain as TrustDomainService } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import {
  FederationRelationshipMaskSchema,
  type FederationRelationship,
  type FederationRelationshipSchema,
} from '../../proto/gen/spire/api/types/federationrelationship_pb.ts';
import { wireBundle } from '../../runtime/bundle-conversion.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { parseForeignBundle } from '../bundle-file.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { requireOk } from '../item-status.ts';
import { printRows, type Row } from '../output.ts';

type RelationshipInit = Exclude<MessageInitShape<typeof FederationRelationshipSchema>, FederationRelationship>;

/** `countersign federation create` */
export const createRelationship: CommandRun = async (invocation) => {
  const relationship = await relationshipOfOptions(invocation);
  if (relationship.bundleEndpointUrl === undefined) throw usage(invocation.command, '--bundle-endpoint-url URL is missing');
  if (relationship.bundleEndpointProfile === undefined)
    throw usage(invocation.command, '--bundle-endpoint-profile https_web|https_spiffe is missing');
  using connection = await connectCa(invocation);
  const { results } = await connection
    .client(TrustDomainService)
    .batchCreateFederationRelationship({ federationRelationships: [relationship] });
  requireOk(results[0]?.status);
  await printRelationships(invocation, [results[0]?.federationRelationship]);
  return 0;
};

/** `countersign federation update` */
export const updateRelationship: CommandRun = async (invocation) => {
  const relationship = await relationshipOfOptions(invocation);
  const inputMask = create(FederationRelationshipMaskSchema, {
    bundleEndpointUrl: relationship.bundleEndpointUrl !== undefined,
    bundleEndpointProfile: relationship.bundleEndpointProfile !== undefined,
    trustDomainBundle: relationship.trustDomainBundle !== undefined,
  });
  using connection = await connectCa(invocation);
  const client = connection.client(TrustDomainService);
  // The API reads the whole relationship before it applies the mask, so what stays is sent as it is.
  const known = await client.getFederationRelationship({ trustDomain: relationship.trustDomain ?? '' });
  const { results } = await client.batchUpdateFederationRelationship({
    federationRelationships: [{ ...relationship, ...unchanged(known, relationship) }],
    inputMask,
  });
  requireOk(results[0]?.status);
  await printRelationships(invocation, [results[0]?.federationRelationship]);
  return 0;
};

function unchanged(known: FederationRelationship, given: RelationshipInit): RelationshipInit {
  return {
    ...(given.bundleEndpointUrl === undefined ? { bundleEndpointUrl: known.bundleEndpointUrl } : {}),
    ...(given.bundleEndpointProfile === undefined ? { bundleEndpointProfile: known.bundleEndpointProfile } : {}),
  };
}

/** `countersign federation list` */
export const listRelationships: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const client = connection.client(TrustDomainService);
  const relationships: FederationRelationship[] = [];
  let pageToken = '';
  do {
    const page = await client.listFederationRelationships({ pageSize: 1000, pageToken });
    relationships.push(...page.federationRelationships);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  await printRelationships(invocation, relationships);
  return 0;
};

/** `countersign federation show` */
export const showRelationship: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const trustDomain = invocation.requiredText('trust-domain');
  await printRelationships(invocation, [await connection.client(TrustDomainService).getFederationRelationship({ trustDomain })]);
  return 0;
};

/** `countersign federation refresh` */
export const refreshBundle: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const trustDomain = invocation.requiredText('trust-domain');
  await connection.client(TrustDomainService).refreshBundle({ trustDomain });
  invocation.terminal.write(`bundle of ${trustDomain} fetched\n`);
  return 0;
};

/** `countersign federation delete` */
export const deleteRelationship: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const trustDomain = invocation.requiredText('trust-domain');
  const { results } = await connection
    .client(TrustDomainService)
    .batchDeleteFederationRelationship({ trustDomains: [trustDomain] });
  requireOk(results[0]?.status);
  invocation.terminal.write(`federation with ${trustDomain} ended; its last bundle stays in use\n`);
  return 0;
};

async function relationshipOfOptions(invocation: Invocation): Promise<RelationshipInit> {
  const trustDomain = parseTrustDomain(invocation.requiredText('trust-domain'));
  const url = invocation.text('bundle-endpoint-url');
  const profile = profileOf(invocation);
  const file = invocation.text('trust-domain-bundle-path');
  const format = invocation.text('trust-domain-bundle-format') ?? 'pem';
  if (format !== 'pem' && format !== 'spiffe')
    throw usage(invocation.command, `--trust-domain-bundle-format ${format} is unknown; use pem or spiffe`);
  const text = file === undefined ? undefined : await readFileOrInput(invocation, file);
  return {
    trustDomain: trustDomain.name,
    ...(url === undefined ? {} : { bundleEndpointUrl: url }),
    ...(profile === undefined ? {} : { bundleEndpointProfile: profile }),
    ...(text === undefined ? {} : { trustDomainBundle: wireBundle(parseForeignBundle(text, trustDomain, format)) }),
  };
}

function profileOf(invocation: Invocation): RelationshipInit['bundleEndpointProfile'] {
  const profile = invocation.text('bundle-endpoint-profile');
  const endpointSpiffeId = invocation.text('endpoint-spiffe-id');
  if (profile === undefined && endpointSpiffeId === undefined) return undefined;
  if (profile === 'https_web' && endpointSpiffeId === undefined) return { case: 'httpsWeb', value: {} };
  if (profile === 'https_spiffe' && endpointSpiffeId !== undefined) return { case: 'httpsSpiffe', value: { endpointSpiffeId } };
  throw usage(
    invocation.command,
    '--bundle-endpoint-profile must be https_web, or https_spiffe together with --endpoint-spiffe-id ID',
  );
}

async function printRelationships(
  invocation: Invocation,
  relationships: readonly (FederationRelationship | undefined)[],
): Promise<void> {
  await printRows(
    invocation,
    relationships.flatMap((relationship) => (relationship === undefined ? [] : [rowOf(relationship)])),
    'blocks',
  );
}

function rowOf({ trustDomain, bundleEndpointUrl, bundleEndpointProfile, trustDomainBundle }: FederationRelationship): Row {
  return {
    trustDomain,
    bundleEndpointUrl,
    bundleEndpointProfile: bundleEndpointProfile.case === 'httpsSpiffe' ? 'https_spiffe' : 'https_web',
    endpointSpiffeId: bundleEndpointProfile.case === 'httpsSpiffe' ? bundleEndpointProfile.value.endpointSpiffeId : undefined,
    bundle: trustDomainBundle === undefined ? 'none yet' : describeBundle(trustDomainBundle),
  };
}

function describeBundle(bundle: NonNullable<FederationRelationship['trustDomainBundle']>): string {
  const counts = `${bundle.x509Authorities.length} X.509 and ${bundle.jwtAuthorities.length} JWT authorities`;
  return `${counts}, sequence number ${bundle.sequenceNumber}`;
}
