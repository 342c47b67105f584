import { IdentityError } from '../../core/errors.ts';
import type { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import type {
  BatchNewWITSVIDRequest,
  BatchNewX509SVIDRequest,
  NewWITSVIDParams,
  NewX509SVIDParams,
} from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { describePeer, type Peer } from '../../runtime/peer.ts';
import type { IssuedX509, X509SvidRequest } from '../issue/issuer.ts';
import type { Entry } from '../model.ts';
import type { ApiContext } from './api-context.ts';
import { callerId, type Authorizer } from './authorizer.ts';
import { ownIdFromProto } from './id-conversion.ts';
import { orFailure } from './in-order.ts';
import { itemStatus, ITEM_OK } from './item-status.ts';
import type { RpcLimits } from './rpc-limits.ts';
import { tokenToProto, x509SvidToProto } from './svid-conversion.ts';

/** What the service needs besides the common context. */
export interface SvidServiceOptions extends ApiContext {
  readonly authorizer: Authorizer;
  readonly limits: RpcLimits;
}

/** `spire.api.server.svid.v1.SVID`: minting for admins, signing for agents by their entries, intermediates for downstream CAs. */
export function svidService(options: SvidServiceOptions): ServiceHandlers<typeof SVID, Peer> {
  const { issuer, trustDomain, limits } = options;
  return {
    mintX509SVID: async ({ csr, ttl }, call) => {
      requireBytes(csr, 'csr', 'missing CSR');
      return { svid: x509SvidToProto(await issuer.mintX509Svid({ csr, ttlSeconds: ttl, caller: describePeer(call.peer) })) };
    },
    mintJWTSVID: async ({ id, audience, ttl }, call) => {
      const spiffeId = ownIdFromProto(id, trustDomain, 'workload', 'id');
      requireAudience(audience);
      return {
        svid: tokenToProto(await issuer.issueJwtSvid({ spiffeId, audience, ttlSeconds: ttl, caller: describePeer(call.peer) })),
      };
    },
    mintWITSVID: async ({ id, publicKey, signingAlgorithm, ttl }, call) => {
      const spiffeId = ownIdFromProto(id, trustDomain, 'workload', 'id');
      const request = { spiffeId, publicKeySpki: publicKey, signingAlgorithm, ttlSeconds: ttl, caller: describePeer(call.peer) };
      return { svid: tokenToProto(await issuer.issueWitSvid(request)) };
    },
    batchNewX509SVID: async (request, call) => {
      requireParams(request.params);
      await limits.take(call, 'x509Signing', request.params.length);
      return newX509Svids(options, request, call);
    },
    newJWTSVID: async ({ entryId, audience }, call) => {
      await limits.take(call, 'jwtSigning');
      const entry = authorizedEntry(options, call, entryId);
      requireAudience(audience);
      return {
        svid: tokenToProto(await issuer.issueJwtSvid({ ...jwtByEntry(entry), audience, caller: describePeer(call.peer) })),
      };
    },
    batchNewWITSVID: async (request, call) => {
      requireParams(request.params);
      await limits.take(call, 'witSigning', request.params.length);
      return newWitSvids(options, request, call);
    },
    newDownstreamX509CA: async ({ csr, preferredTtl }, call) => {
      await limits.take(call, 'x509Signing');
      requireBytes(csr, 'csr', 'missing CSR');
      const entry = options.authorizer.downstreamEntry(callerId(call));
      if (entry === undefined) throw new IdentityError('internal', 'caller is not a downstream workload');
      const request = { csr, ttlSeconds: preferredTtl, entryId: entry.id, caller: describePeer(call.peer) };
      const { chain } = await issuer.issueDownstreamCa(request);
      const roots = options.registry.bundle.value.x509Authorities.map(({ der }) => der);
      return { caCertChain: [...chain], x509Authorities: roots };
    },
  };
}

function requireBytes(bytes: Uint8Array, field: string, message: string): void {
  if (bytes.length === 0) throw new IdentityError('invalid_argument', message, { field });
}

function requireAudience(audience: readonly string[]): void {
  if (audience.length === 0)
    throw new IdentityError('invalid_argument', 'at least one audience is required', { field: 'audience' });
}

function requireParams(params: readonly unknown[]): void {
  if (params.length === 0) throw new IdentityError('invalid_argument', 'missing parameters', { field: 'params' });
}

function authorizedEntry({ registry }: ApiContext, call: Call<Peer>, entryId: string): Entry {
  const entry = registry.authorizedEntry(callerId(call), entryId);
  if (entry === undefined) throw new IdentityError('not_found', 'entry not found or not authorized');
  return entry;
}

function jwtByEntry(entry: Entry) {
  return {
    spiffeId: entry.spiffeId,
    ttlSeconds: entry.jwtSvidTtlSeconds,
    entryId: entry.id,
    includeTokenId: entry.jwtSvidIncludeJti,
    extraClaims: entry.jwtClaims,
  };
}

async function newX509Svids(options: SvidServiceOptions, { params }: BatchNewX509SVIDRequest, call: Call<Peer>) {
  const read = params.map((param) => orFailure(() => x509Request(options, param, call)));
  const wanted = read.filter((item): item is X509SvidRequest => !(item instanceof IdentityError));
  const issued = wanted.length === 0 ? [] : await options.issuer.issueX509SvidBatch(wanted);
  let next = 0;
  return { results: read.map((item) => x509Result(item instanceof IdentityError ? item : issued[next++])) };
}

function x509Request(options: ApiContext, { entryId, csr }: NewX509SVIDParams, call: Call<Peer>): X509SvidRequest {
  requireEntryId(entryId);
  requireBytes(csr, 'csr', 'missing CSR');
  const entry = authorizedEntry(options, call, entryId);
  const { spiffeId, dnsNames, x509SvidTtlSeconds: ttlSeconds } = entry;
  return { csr, spiffeId, dnsNames, ttlSeconds, entryId, caller: describePeer(call.peer) };
}

function x509Result(issued: IssuedX509 | Error | undefined) {
  if (issued === undefined) throw new IdentityError('internal', 'the issuer left out a result');
  return issued instanceof Error ? { status: itemStatus(issued) } : { status: ITEM_OK, svid: x509SvidToProto(issued) };
}

async function newWitSvids(options: SvidServiceOptions, { params }: BatchNewWITSVIDRequest, call: Call<Peer>) {
  const results = await Promise.all(
    params.map(async (param) => {
      try {
        return { status: ITEM_OK, svid: tokenToProto(await newWitSvid(options, param, call)) };
      } catch (error) {
        return { status: itemStatus(error) };
      }
    }),
  );
  return { results };
}

function newWitSvid(options: ApiContext, { entryId, publicKey, signingAlgorithm }: NewWITSVIDParams, call: Call<Peer>) {
  requireEntryId(entryId);
  requireBytes(publicKey, 'public_key', 'missing public key');
  const { spiffeId, x509SvidTtlSeconds: ttlSeconds } = authorizedEntry(options, call, entryId);
  const caller = describePeer(call.peer);
  return options.issuer.issueWitSvid({ spiffeId, publicKeySpki: publicKey, signingAlgorithm, ttlSeconds, entryId, caller });
}

function requireEntryId(entryId: string): void {
  if (entryId === '') throw new IdentityError('invalid_argument', 'missing entry ID', { field: 'entry_id' });
}
