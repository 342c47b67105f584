import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Clock } from '../../core/clock.ts';
import { changesOf } from '../../core/current.ts';
import { IdentityError } from '../../core/errors.ts';
import { Role } from '../../proto/gen/countersign/admin/v1/admin_pb.ts';
import type {
  Admin,
  LoginRequest,
  LoginResponseSchema,
  SignPublicKeyRequest,
  SignPublicKeyResponseSchema,
} from '../../proto/gen/countersign/admin/v1/admin_pb.ts';
import type { BundleSchema } from '../../proto/gen/spire/api/types/bundle_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { describePeer, type Peer } from '../../runtime/peer.ts';
import { parseCertificate } from '../../spiffe/certificate.ts';
import { parseCsr, verifyCsr } from '../../spiffe/csr.ts';
import type { Authorities } from '../authorities/authorities.ts';
import type { AdminLogins } from '../kubernetes/admin-logins.ts';
import type { Entry } from '../model.ts';
import type { ApiContext } from './api-context.ts';
import type { Authorizer } from './authorizer.ts';
import { bundleToProto } from './bundle-conversion.ts';
import type { RpcLimits } from './rpc-limits.ts';
import { x509SvidToProto } from './svid-conversion.ts';

/** What the service needs besides the common context. */
export interface AdminServiceOptions extends ApiContext {
  readonly authorizer: Authorizer;
  readonly authorities: Pick<Authorities, 'activeX509'>;
  readonly limits: RpcLimits;
  readonly logins: AdminLogins;
  /** Lifetime of an entry's SVID that does not name one, in seconds. */
  readonly x509SvidTtlSeconds: number;
}

// Short, since it cannot be taken back: what a login may is looked up at each call, but a pod that is gone keeps its SVID.
const LOGIN_TTL_SECONDS = 15 * 60;
const ROLES = { admin: Role.ADMIN, controller: Role.CONTROLLER } as const;

/** `countersign.admin.v1.Admin`: logins, and what controllers need besides the registration APIs. */
export function adminService(options: AdminServiceOptions): ServiceHandlers<typeof Admin, Peer> {
  return {
    login: (request, call) => login(options, request, call),
    signPublicKey: (request, call) => signPublicKey(options, request, call),
    watchBundle: (_request, call) => watchBundle(options, call),
  };
}

async function login(
  options: AdminServiceOptions,
  { token, csr, cluster }: LoginRequest,
  call: Call<Peer>,
): Promise<MessageInitShape<typeof LoginResponseSchema>> {
  const { issuer, limits, logins, registry, log } = options;
  await limits.take(call, 'login');
  // Before the API server is asked: that costs more than a signature.
  verifyCsr(parseCsr(csr, 'csr'), 'csr');
  const { spiffeId, role, dnsNames, pod } = await logins.verify(cluster, token).catch((err: unknown) => {
    log.info({ err, caller: describePeer(call.peer) }, 'login refused');
    throw err;
  });
  const caller = `login of pod ${pod.cluster}/${pod.namespace}/${pod.name}`;
  const svid = await issuer.issueAdminSvid({ csr, spiffeId, dnsNames, ttlSeconds: LOGIN_TTL_SECONDS, caller });
  log.info({ spiffeId: spiffeId.toString(), role, pod: pod.name }, 'admin logged in');
  return {
    svid: x509SvidToProto(svid),
    role: ROLES[role],
    bundle: bundleToProto(registry.bundle.value),
    dnsNames: [...dnsNames],
  };
}

async function signPublicKey(
  options: AdminServiceOptions,
  request: SignPublicKeyRequest,
  call: Call<Peer>,
): Promise<MessageInitShape<typeof SignPublicKeyResponseSchema>> {
  const { authorizer, issuer, limits } = options;
  await limits.take(call, 'x509Signing');
  const { entryId, publicKey } = request;
  if (publicKey.length === 0) throw invalid('missing public key', 'public_key');
  const entry = entryOf(options, entryId);
  authorizer.checkEntryId(call, entryId);
  authorizer.checkEntry(call, entry);
  const ttlSeconds = lifetimeOf(options, entry, request);
  const { spiffeId, dnsNames } = entry;
  const caller = describePeer(call.peer);
  const svid = await issuer.issueX509Svid({ publicKeySpki: publicKey, spiffeId, dnsNames, ttlSeconds, entryId, caller });
  const notBeforeMs = svid.chain[0] === undefined ? 0 : parseCertificate(svid.chain[0]).notBeforeMs;
  return {
    svid: { ...x509SvidToProto(svid), hint: entry.hint },
    notBefore: BigInt(notBeforeMs / 1000),
    dnsNames: [...dnsNames],
  };
}

function entryOf({ registry, clock }: ApiContext, entryId: string): Entry {
  if (entryId === '') throw invalid('missing entry ID', 'entry_id');
  const entry = registry.entries.get(entryId);
  const isExpired = entry !== undefined && entry.expiresAtSeconds > 0 && entry.expiresAtSeconds * 1000 <= clock.nowMs();
  if (entry === undefined || isExpired) throw new IdentityError('not_found', 'entry not found');
  return entry;
}

/**
 * How long the SVID may last, in seconds.
 *
 * @throws IdentityError `failed_precondition` when the entry is too short for the caller, `unavailable` while the authority is
 */
function lifetimeOf(
  { authorities, clock, x509SvidTtlSeconds }: AdminServiceOptions,
  entry: Entry,
  { maxTtlSeconds: max, minTtlSeconds: min }: SignPublicKeyRequest,
): number {
  if (max < 0) throw invalid('must not be negative', 'max_ttl_seconds');
  if (max > 0 && min > max) throw invalid('must not be more than max_ttl_seconds', 'min_ttl_seconds');
  const own = entry.x509SvidTtlSeconds > 0 ? entry.x509SvidTtlSeconds : x509SvidTtlSeconds;
  if (own < min) {
    throw new IdentityError('failed_precondition', `the SVID of the entry lasts ${own} s, at least ${min} s are needed`);
  }
  const leftSeconds = (authorities.activeX509().expiresAtMs - clock.nowMs()) / 1000;
  if (leftSeconds < min) {
    const message = `the CA's authority lasts ${Math.max(0, Math.floor(leftSeconds))} s more, at least ${min} s are needed`;
    // The next authority will do: a caller that would give up for good on the entry's lifetime must not do so on this.
    throw new IdentityError('unavailable', message);
  }
  return max > 0 ? Math.min(own, max) : own;
}

async function* watchBundle(
  { registry, authorizer, clock }: AdminServiceOptions,
  call: Call<Peer>,
): AsyncGenerator<MessageInitShape<typeof BundleSchema>, void, undefined> {
  endWithSvid(clock, call);
  for await (const bundle of changesOf(registry.bundle, call.signal)) {
    await authorizer.recheck(call);
    yield bundleToProto(bundle);
  }
}

/** Ends a stream when the SVID that it was begun with has run out: its holder is to come again with a newer one. */
function endWithSvid(clock: Clock, call: Call<Peer>): void {
  const { peer } = call;
  if (peer.kind !== 'x509') return;
  const expired = new IdentityError('unavailable', 'the SVID of this connection has run out; connect again with a newer one');
  const timer = clock.setTimer(Math.max(0, peer.expiresAtMs - clock.nowMs()), () => call.fail(expired));
  call.onEnd(() => timer.cancel());
}

function invalid(message: string, field: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}
