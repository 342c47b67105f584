import { IdentityError, isIdentityError } from '../../core/errors.ts';
import type { TrustDomain as TrustDomainService } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import type {
  BatchCreateFederationRelationshipRequest,
  BatchDeleteFederationRelationshipRequest,
  BatchUpdateFederationRelationshipRequest,
} from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import type {
  FederationRelationship as ProtoRelationship,
  FederationRelationshipMask,
} from '../../proto/gen/spire/api/types/federationrelationship_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { FederationRelationship } from '../model.ts';
import type { Mutation } from '../store/store.ts';
import { commit, type ApiContext } from './api-context.ts';
import type { Authorizer } from './authorizer.ts';
import { inOrder } from './in-order.ts';
import { attempt, during, itemStatus, ITEM_OK } from './item-status.ts';
import { trustDomainFromProto } from './id-conversion.ts';
import { pageFromProto } from './list-filters.ts';
import { relationshipFromProto, relationshipToProto, type RelationshipInput } from './relationship-conversion.ts';

/** Polls the bundles of federated trust domains; it follows the relationships in the registry by itself. */
export interface FederationRefresher {
  /** Polls a trust domain's bundle endpoint now; false when there is no relationship with it. @throws IdentityError when that fails */
  refresh(trustDomain: TrustDomain, signal: AbortSignal): Promise<boolean>;
}

/** What the service needs besides the common context. */
export interface TrustDomainServiceOptions extends ApiContext {
  readonly authorizer: Authorizer;
  readonly refresher: FederationRefresher;
}

/** `spire.api.server.trustdomain.v1.TrustDomain`: with whom this trust domain federates. */
export function trustDomainService(options: TrustDomainServiceOptions): ServiceHandlers<typeof TrustDomainService, Peer> {
  const { registry, refresher } = options;
  return {
    listFederationRelationships: (request) => {
      const { items, nextToken } = registry.relationships.list(undefined, pageFromProto(request));
      const federationRelationships = items.map((relationship) => render(options, relationship, request.outputMask));
      return { federationRelationships, nextPageToken: nextToken };
    },
    getFederationRelationship: ({ trustDomain, outputMask }) => {
      const relationship = registry.relationships.get(readName(trustDomain));
      if (relationship === undefined) throw new IdentityError('not_found', 'federation relationship does not exist');
      return render(options, relationship, outputMask);
    },
    batchCreateFederationRelationship: (request, call) => createRelationships(guarded(options, call), request),
    batchUpdateFederationRelationship: (request, call) => updateRelationships(guarded(options, call), request),
    batchDeleteFederationRelationship: (request, call) => deleteRelationships(guarded(options, call), request),
    refreshBundle: async ({ trustDomain: name }, call) => {
      const trustDomain = readName(name);
      const known = await refresher.refresh(trustDomain, call.signal).catch((error: unknown) => {
        // An address that must not be called is no fault of the CA, nor is the caller denied: the relationship has to change.
        throw during(
          'failed to refresh bundle',
          error,
          isIdentityError(error, 'permission_denied') ? 'failed_precondition' : 'internal',
        );
      });
      if (!known) throw new IdentityError('not_found', `no relationship with trust domain "${trustDomain.name}"`);
      return {};
    },
  };
}

interface GuardedContext extends ApiContext {
  /** Refuses the trust domains that the caller may not change. */
  readonly guard: (trustDomain: TrustDomain) => void;
}

function guarded(options: TrustDomainServiceOptions, call: Call<Peer>): GuardedContext {
  return { ...options, guard: (trustDomain) => options.authorizer.checkTrustDomain(call, trustDomain) };
}

function readName(name: string): TrustDomain {
  return attempt('failed to parse trust domain', () => trustDomainFromProto(name));
}

function render({ registry }: ApiContext, relationship: FederationRelationship, mask: FederationRelationshipMask | undefined) {
  return relationshipToProto(relationship, registry.federatedBundles.get(relationship.trustDomain), mask);
}

async function createRelationships(context: GuardedContext, request: BatchCreateFederationRelationshipRequest) {
  const create = async (tx: Mutation, { relationship, bundle }: RelationshipInput): Promise<FederationRelationship> => {
    await tx.createRelationship(relationship);
    if (bundle !== undefined) await tx.putBundle(bundle);
    return relationship;
  };
  const { federationRelationships: protos, outputMask } = request;
  return writeRelationships(context, { protos, outputMask, doing: 'create', write: create });
}

async function updateRelationships(context: GuardedContext, request: BatchUpdateFederationRelationshipRequest) {
  const { federationRelationships: protos, inputMask: mask, outputMask } = request;
  const update = async (tx: Mutation, { relationship, bundle }: RelationshipInput): Promise<FederationRelationship> => {
    const { trustDomain, bundleEndpointUrl, profile } = relationship;
    const updated = await tx.updateRelationship(trustDomain, {
      ...(mask === undefined || mask.bundleEndpointUrl ? { bundleEndpointUrl } : {}),
      ...(mask === undefined || mask.bundleEndpointProfile ? { profile } : {}),
    });
    if (bundle !== undefined && (mask === undefined || mask.trustDomainBundle)) await tx.putBundle(bundle);
    return updated;
  };
  return writeRelationships(context, { protos, outputMask, doing: 'update', write: update });
}

interface RelationshipWrite {
  readonly protos: readonly ProtoRelationship[];
  readonly outputMask: FederationRelationshipMask | undefined;
  readonly doing: 'create' | 'update';
  readonly write: (tx: Mutation, input: RelationshipInput) => Promise<FederationRelationship>;
}

async function writeRelationships(context: GuardedContext, { protos, outputMask, doing, write }: RelationshipWrite) {
  const writeOne = async (tx: Mutation, proto: ProtoRelationship): Promise<FederationRelationship> => {
    const input = attempt('failed to convert federation relationship', () => relationshipFromProto(proto));
    if (input.relationship.trustDomain.equals(context.trustDomain)) {
      const message = `unable to ${doing} federation relationship for server trust domain`;
      throw new IdentityError('invalid_argument', message, { field: 'trust_domain' });
    }
    context.guard(input.relationship.trustDomain);
    return write(tx, input).catch((error: unknown) => {
      throw during(`failed to ${doing} federation relationship`, error);
    });
  };
  const written = await commit(context, (tx) => inOrder(protos, (proto) => writeOne(tx, proto)));
  warnOfMissingBundles(context, written);
  return {
    results: written.map((relationship) =>
      relationship instanceof IdentityError
        ? { status: itemStatus(relationship) }
        : { status: ITEM_OK, federationRelationship: render(context, relationship, outputMask) },
    ),
  };
}

// An endpoint that proves itself by its SVID can be polled only once the bundle of its trust domain is there.
function warnOfMissingBundles({ registry, log }: ApiContext, written: readonly (FederationRelationship | IdentityError)[]): void {
  for (const relationship of written) {
    if (relationship instanceof IdentityError || relationship.profile.kind !== 'https_spiffe') continue;
    const { endpointSpiffeId } = relationship.profile;
    if (registry.bundleOf(endpointSpiffeId.trustDomain) !== undefined) continue;
    log.warn({ endpointSpiffeId: endpointSpiffeId.toString() }, 'no bundle to verify the federation endpoint with');
  }
}

async function deleteRelationships(context: GuardedContext, { trustDomains }: BatchDeleteFederationRelationshipRequest) {
  const remove = async (tx: Mutation, name: string): Promise<true> => {
    if (name === '') throw new IdentityError('invalid_argument', 'missing trust domain', { field: 'trust_domains' });
    const trustDomain = readName(name);
    context.guard(trustDomain);
    await tx.deleteRelationship(trustDomain).catch((error: unknown) => {
      if (!isIdentityError(error, 'not_found')) throw during('failed to delete federation relationship', error);
      throw new IdentityError('not_found', 'federation relationship not found', { cause: error });
    });
    return true;
  };
  const outcomes = await commit(context, (tx) => inOrder(trustDomains, (name) => remove(tx, name)));
  return {
    results: outcomes.map((outcome, index) => ({
      trustDomain: trustDomains[index] ?? '',
      status: outcome instanceof IdentityError ? itemStatus(outcome) : ITEM_OK,
    })),
  };
}
