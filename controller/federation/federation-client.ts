import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { IdentityError } from '../../core/errors.ts';
import { TrustDomain as TrustDomainService } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import type {
  FederationRelationship,
  FederationRelationshipSchema,
} from '../../proto/gen/spire/api/types/federationrelationship_pb.ts';
import type { Status } from '../../proto/gen/spire/api/types/status_pb.ts';
import { wireBundle } from '../../runtime/bundle-conversion.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { statusError } from '../entries/status-error.ts';
import type { DesiredRelationship } from './federation-index.ts';

const TIMEOUT_MS = 30_000;
const PAGE_SIZE = 500;

/** The federation relationships at the CA. Failures of a whole call and of the one relationship are thrown as IdentityError. */
export class FederationClient {
  readonly #client: Client<typeof TrustDomainService>;

  constructor(connection: Pick<GrpcConnection, 'client'>) {
    this.#client = connection.client(TrustDomainService);
  }

  /** What is there, by trust domain: {@link relationshipText} of each. */
  async list(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    const outputMask = { bundleEndpointUrl: true, bundleEndpointProfile: true };
    for (let pageToken = ''; ;) {
      const request = { outputMask, pageSize: PAGE_SIZE, pageToken };
      const page = await this.#call(this.#client.listFederationRelationships(request, { signal, timeoutMs: TIMEOUT_MS }));
      for (const relationship of page.federationRelationships) found.set(relationship.trustDomain, textOfWire(relationship));
      if (page.nextPageToken === '') return found;
      pageToken = page.nextPageToken;
    }
  }

  async create(relationship: DesiredRelationship, signal: AbortSignal): Promise<void> {
    const federationRelationships = [wireRelationship(relationship)];
    const { results } = await this.#call(
      this.#client.batchCreateFederationRelationship({ federationRelationships }, { signal, timeoutMs: TIMEOUT_MS }),
    );
    check(results[0]?.status);
  }

  async update(relationship: DesiredRelationship, signal: AbortSignal): Promise<void> {
    const federationRelationships = [wireRelationship(relationship)];
    const inputMask = {
      bundleEndpointUrl: true,
      bundleEndpointProfile: true,
      trustDomainBundle: relationship.bundle !== undefined,
    };
    const { results } = await this.#call(
      this.#client.batchUpdateFederationRelationship({ federationRelationships, inputMask }, { signal, timeoutMs: TIMEOUT_MS }),
    );
    check(results[0]?.status);
  }

  async delete(trustDomain: string, signal: AbortSignal): Promise<void> {
    const { results } = await this.#call(
      this.#client.batchDeleteFederationRelationship({ trustDomains: [trustDomain] }, { signal, timeoutMs: TIMEOUT_MS }),
    );
    const status = results[0]?.status;
    if (statusError(status)?.code !== 'not_found') check(status);
  }

  async #call<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      throw toIdentityError(error);
    }
  }
}

/** What makes a relationship different from another one with the same trust domain. */
export function relationshipText({ declaration }: DesiredRelationship): string {
  const { bundleEndpointUrl, bundleEndpointProfile: profile } = declaration;
  return `${bundleEndpointUrl} ${profile.type === 'https_spiffe' ? profile.endpointSpiffeId.toString() : 'https_web'}`;
}

function textOfWire({ bundleEndpointUrl, bundleEndpointProfile }: FederationRelationship): string {
  const profile = bundleEndpointProfile.case === 'httpsSpiffe' ? bundleEndpointProfile.value.endpointSpiffeId : 'https_web';
  return `${bundleEndpointUrl} ${profile}`;
}

function wireRelationship({ declaration, bundle }: DesiredRelationship): MessageInitShape<typeof FederationRelationshipSchema> {
  const { trustDomain, bundleEndpointUrl, bundleEndpointProfile: profile } = declaration;
  const common = { trustDomain: trustDomain.name, bundleEndpointUrl };
  return {
    ...common,
    bundleEndpointProfile:
      profile.type === 'https_spiffe'
        ? { case: 'httpsSpiffe' as const, value: { endpointSpiffeId: profile.endpointSpiffeId.toString() } }
        : { case: 'httpsWeb' as const, value: {} },
    ...(bundle === undefined ? {} : { trustDomainBundle: wireBundle(bundle) }),
  };
}

function check(status: Status | undefined): void {
  const error = status === undefined ? new IdentityError('internal', 'the CA answered without a status') : statusError(status);
  if (error !== undefined) throw error;
}
