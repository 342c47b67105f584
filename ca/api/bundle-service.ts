import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { BatchDeleteFederatedBundleRequest_Mode as Mode } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import type {
  AppendBundleRequest,
  BatchDeleteFederatedBundleRequest,
  Bundle as BundleService,
} from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { BundleSchema, type Bundle as ProtoBundle, type BundleMask } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import { encodeMessage, type EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Mutation } from '../store/store.ts';
import { commit, type ApiContext } from './api-context.ts';
import type { Authorizer } from './authorizer.ts';
import { appendAuthorities, appendedToken, appendedX509 } from './bundle-append.ts';
import {
  bundleFromProto,
  bundleToProto,
  mergeBundle,
  tokenAuthoritiesFromProto,
  tokenAuthoritiesToProto,
  x509AuthoritiesFromProto,
} from './bundle-conversion.ts';
import { inOrder } from './in-order.ts';
import { attempt, during, itemStatus, ITEM_OK } from './item-status.ts';
import { trustDomainFromProto } from './id-conversion.ts';
import { pageFromProto } from './list-filters.ts';
import type { RpcLimits } from './rpc-limits.ts';

/** What the service needs besides the common context. */
export interface BundleServiceOptions extends ApiContext {
  readonly authorizer: Authorizer;
  readonly limits: RpcLimits;
}

/** `spire.api.server.bundle.v1.Bundle`: the own bundle and those of federated trust domains. */
export function bundleService(options: BundleServiceOptions): ServiceHandlers<typeof BundleService, Peer> {
  const { registry, limits } = options;
  return {
    countBundles: () => ({ count: registry.federatedBundles.count() + 1 }),
    getBundle: ({ outputMask }) =>
      outputMask === undefined ? encodedBundle(registry.bundle.value) : bundleToProto(registry.bundle.value, outputMask),
    appendBundle: (request) => appendBundle(options, request),
    publishJWTAuthority: async ({ jwtAuthority }, call) => {
      await limits.take(call, 'publishing');
      await publish(options, 'jwt', jwtAuthority);
      return { jwtAuthorities: tokenAuthoritiesToProto(registry.bundle.value.jwtAuthorities.values()) };
    },
    publishWITAuthority: async ({ witAuthority }, call) => {
      await limits.take(call, 'publishing');
      await publish(options, 'wit', witAuthority);
      return { witAuthorities: tokenAuthoritiesToProto(registry.bundle.value.witAuthorities.values()) };
    },
    listFederatedBundles: (request) => {
      const { items, nextToken } = registry.federatedBundles.list(undefined, pageFromProto(request));
      return { bundles: items.map((bundle) => bundleToProto(bundle, request.outputMask)), nextPageToken: nextToken };
    },
    getFederatedBundle: ({ trustDomain, outputMask }) => {
      const refusal = "getting a federated bundle for the server's own trust domain is not allowed";
      const bundle = registry.federatedBundles.get(foreignTrustDomain(options, trustDomain, refusal));
      if (bundle === undefined) throw new IdentityError('not_found', 'bundle not found');
      return bundleToProto(bundle, outputMask);
    },
    batchCreateFederatedBundle: ({ bundle, outputMask }, call) =>
      writeBundles(guarded(options, call), { protos: bundle, outputMask, doing: 'creating', write: create }),
    batchUpdateFederatedBundle: ({ bundle, inputMask, outputMask }, call) =>
      writeBundles(guarded(options, call), {
        protos: bundle,
        outputMask,
        doing: 'updating',
        write: (tx, next) => update(tx, next, inputMask),
      }),
    batchSetFederatedBundle: ({ bundle, outputMask }, call) =>
      writeBundles(guarded(options, call), { protos: bundle, outputMask, doing: 'setting', write: set }),
    batchDeleteFederatedBundle: (request, call) => deleteBundles(guarded(options, call), request),
  };
}

interface GuardedContext extends ApiContext {
  /** Refuses the trust domains that the caller may not change. */
  readonly guard: (trustDomain: TrustDomain) => void;
}

function guarded(options: BundleServiceOptions, call: Call<Peer>): GuardedContext {
  return { ...options, guard: (trustDomain) => options.authorizer.checkTrustDomain(call, trustDomain) };
}

// Every agent asks for the bundle every few seconds: one encoding serves all until it changes.
const encoded = new WeakMap<Bundle, EncodedMessage>();

function encodedBundle(bundle: Bundle): EncodedMessage {
  let message = encoded.get(bundle);
  if (message === undefined) {
    message = encodeMessage(BundleSchema, bundleToProto(bundle));
    encoded.set(bundle, message);
  }
  return message;
}

async function appendBundle(context: ApiContext, request: AppendBundleRequest) {
  const { x509Authorities, jwtAuthorities, witAuthorities, outputMask } = request;
  if (x509Authorities.length + jwtAuthorities.length + witAuthorities.length === 0) {
    throw new IdentityError('invalid_argument', 'no authorities to append');
  }
  const read = (kind: 'jwt' | 'wit', protos: typeof jwtAuthorities | typeof witAuthorities) =>
    attempt(`failed to convert ${kind.toUpperCase()} authority`, () =>
      tokenAuthoritiesFromProto(protos, `${kind}_authorities`),
    ).map((authority) => appendedToken(kind, authority));
  const tokens = [...read('jwt', jwtAuthorities), ...read('wit', witAuthorities)];
  const x509 = attempt('failed to convert X.509 authority', () => x509AuthoritiesFromProto(x509Authorities)).map(appendedX509);
  await appendAuthorities(context, [...x509, ...tokens]).catch((error: unknown) => {
    throw during('failed to append bundle', error);
  });
  return bundleToProto(context.registry.bundle.value, outputMask);
}

async function publish(
  context: ApiContext,
  kind: 'jwt' | 'wit',
  proto: Parameters<typeof tokenAuthoritiesFromProto>[0][number] | undefined,
) {
  const name = kind.toUpperCase();
  const field = `${kind}_authority`;
  if (proto === undefined) throw new IdentityError('invalid_argument', `missing ${name} authority`, { field });
  const authorities = attempt(`invalid ${name} authority`, () => tokenAuthoritiesFromProto([proto], field));
  await appendAuthorities(
    context,
    authorities.map((authority) => appendedToken(kind, authority)),
  );
}

/** Reads the name of another trust domain than the own one. @throws IdentityError `invalid_argument` */
function foreignTrustDomain(context: ApiContext, name: string, ownRefused: string): TrustDomain {
  const trustDomain = attempt('trust domain argument is not valid', () => trustDomainFromProto(name));
  if (trustDomain.equals(context.trustDomain)) throw new IdentityError('invalid_argument', ownRefused, { field: 'trust_domain' });
  return trustDomain;
}

interface BundleWrite {
  readonly protos: readonly ProtoBundle[];
  readonly outputMask: BundleMask | undefined;
  readonly doing: 'creating' | 'updating' | 'setting';
  /** Resolves with what is stored now. */
  readonly write: (tx: Mutation, bundle: Bundle) => Promise<Bundle>;
}

async function writeBundles(context: GuardedContext, { protos, outputMask, doing, write }: BundleWrite) {
  const refusal = `${doing} a federated bundle for the server's own trust domain is not allowed`;
  const read = (proto: ProtoBundle): Bundle => {
    const trustDomain = foreignTrustDomain(context, proto.trustDomain, refusal);
    context.guard(trustDomain);
    return attempt('failed to convert bundle', () => bundleFromProto(proto, trustDomain));
  };
  const written = await commit(context, (tx) => inOrder(protos, (proto) => write(tx, read(proto))));
  return {
    results: written.map((bundle) =>
      bundle instanceof IdentityError
        ? { status: itemStatus(bundle) }
        : { status: ITEM_OK, bundle: bundleToProto(bundle, outputMask) },
    ),
  };
}

async function create(tx: Mutation, bundle: Bundle): Promise<Bundle> {
  try {
    await tx.createBundle(bundle);
    return bundle;
  } catch (error) {
    if (isIdentityError(error, 'already_exists'))
      throw new IdentityError('already_exists', 'bundle already exists', { cause: error });
    throw during('unable to create bundle', error);
  }
}

async function update(tx: Mutation, next: Bundle, mask: BundleMask | undefined): Promise<Bundle> {
  const present = await tx.getBundle(next.trustDomain);
  if (present === undefined) throw new IdentityError('not_found', 'bundle not found');
  return set(tx, mergeBundle(present, next, mask));
}

async function set(tx: Mutation, bundle: Bundle): Promise<Bundle> {
  await tx.putBundle(bundle);
  return bundle;
}

const MODES = new Map<number, 'restrict' | 'dissociate' | 'delete'>([
  [Mode.RESTRICT, 'restrict'],
  [Mode.DISSOCIATE, 'dissociate'],
  [Mode.DELETE, 'delete'],
]);

async function deleteBundles(context: GuardedContext, { mode, trustDomains }: BatchDeleteFederatedBundleRequest) {
  const how = MODES.get(mode);
  if (how === undefined)
    throw new IdentityError('invalid_argument', `failed to parse deletion mode: unhandled delete mode ${mode}`, {
      field: 'mode',
    });
  const refusal = 'removing the bundle for the server trust domain is not allowed';
  const outcomes = await commit(context, (tx) =>
    inOrder(trustDomains, (name) => {
      const trustDomain = foreignTrustDomain(context, name, refusal);
      context.guard(trustDomain);
      return remove(tx, trustDomain, how);
    }),
  );
  return {
    results: outcomes.map((outcome, index) => ({
      trustDomain: trustDomains[index] ?? '',
      status: outcome instanceof IdentityError ? itemStatus(outcome) : ITEM_OK,
    })),
  };
}

async function remove(tx: Mutation, trustDomain: TrustDomain, mode: 'restrict' | 'dissociate' | 'delete'): Promise<true> {
  try {
    await tx.deleteBundle(trustDomain, mode);
    return true;
  } catch (error) {
    if (isIdentityError(error, 'not_found')) throw new IdentityError('not_found', 'bundle not found', { cause: error });
    throw during('failed to delete federated bundle', error);
  }
}
