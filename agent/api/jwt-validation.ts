import type { JsonObject } from '@bufbuild/protobuf';

import type { Clock } from '../../core/clock.ts';
import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { ValidateJWTSVIDResponseSchema, type ValidateJWTSVIDRequest } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { encodeMessage, type EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { Bundle } from '../../spiffe/bundle.ts';
import { verifyJwtSvid, type JwtSvid } from '../../spiffe/jwt-svid.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import { Lifetime } from '../../runtime/lifetime.ts';

/** A token that was found valid, for as long as it lives and the bundles are the same. */
interface Valid {
  readonly message: EncodedMessage;
  readonly lifetime: Lifetime;
}

// A service sees the same caller's token on each of its calls: the last few need no second verification.
const MAX_VALID_PER_VIEW = 128;
// Longer ones are not kept.
const MAX_KEY_LENGTH = 8_192;

/**
 * `ValidateJWTSVID` (Workload API §6.2.3). Of a foreign trust domain's token only `sub`, `aud` and `exp` are passed on, as in
 * SPIRE: what else a stranger claims might be taken for the word of our own CA.
 */
export class JwtValidation {
  readonly #clock: Clock;
  /** By the identities, and so by the bundles, that the tokens were verified with: another bundle means another verification. */
  readonly #valid = new WeakMap<WorkloadIdentities, Map<string, Valid>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws IdentityError `invalid_argument` for a token that does not validate */
  validate(identities: WorkloadIdentities, request: ValidateJWTSVIDRequest): EncodedMessage {
    const key = `${request.audience}\0${request.svid}`;
    const known = this.#valid.get(identities)?.get(key);
    if (known !== undefined && !known.lifetime.isExpired(this.#clock)) return known.message;
    const svid = verify(request, identities, this.#clock.nowMs());
    const isOwn = svid.id.isMemberOf(identities.bundle.trustDomain);
    const response = { spiffeId: svid.id.toString(), claims: claimsOf(svid, isOwn) };
    const message = encodeMessage(ValidateJWTSVIDResponseSchema, response);
    if (key.length <= MAX_KEY_LENGTH) this.#keep(identities, key, { message, lifetime: lifetimeOf(svid, this.#clock) });
    return message;
  }

  #keep(identities: WorkloadIdentities, key: string, valid: Valid): void {
    let kept = this.#valid.get(identities);
    if (kept === undefined) this.#valid.set(identities, (kept = new Map()));
    if (kept.size >= MAX_VALID_PER_VIEW) kept.clear();
    kept.set(key, valid);
  }
}

/** Refuses an incomplete request, before anybody is attested. @throws IdentityError `invalid_argument` */
export function checkValidateRequest({ audience, svid }: ValidateJWTSVIDRequest): void {
  if (audience === '') throw new IdentityError('invalid_argument', 'audience must be specified');
  if (svid === '') throw new IdentityError('invalid_argument', 'svid must be specified');
}

function verify(
  { svid, audience }: ValidateJWTSVIDRequest,
  { bundle, federatedBundles }: WorkloadIdentities,
  nowMs: number,
): JwtSvid {
  const bundleOf = (trustDomain: TrustDomain): Bundle | undefined =>
    trustDomain.equals(bundle.trustDomain) ? bundle : federatedBundles.get(trustDomain.name);
  try {
    return verifyJwtSvid(svid, [audience], { bundleOf }, nowMs);
  } catch (error) {
    if (!isIdentityError(error, 'unauthenticated')) throw error;
    throw new IdentityError('invalid_argument', error.message, { cause: error });
  }
}

function lifetimeOf({ expiresAtMs }: JwtSvid, clock: Clock): Lifetime {
  return new Lifetime({ notBeforeMs: clock.nowMs(), expiresAtMs }, clock);
}

function claimsOf({ claims, audience }: JwtSvid, isOwn: boolean): JsonObject {
  // The cast is sound: claims were parsed from JSON.
  const all = { ...claims, aud: [...audience] } as JsonObject;
  if (isOwn) return all;
  return Object.fromEntries(Object.entries(all).filter(([name]) => name === 'sub' || name === 'aud' || name === 'exp'));
}
