import type { Clock } from '../../core/clock.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { Peer } from '../../runtime/peer.ts';
import { during } from './item-status.ts';
import { RateLimiter } from './rate-limit.ts';

/** The classes of calls that are limited, each with a budget of its own for each client address. */
export type LimitClass = 'attestation' | 'login' | 'x509Signing' | 'jwtSigning' | 'witSigning' | 'publishing' | 'status';

// As in SPIRE; not configurable there either.
const PUBLISHING_PER_SECOND = 500;
const STATUS_PER_SECOND = 10;

/** The rate limits of the API. Callers on the local socket are never limited. */
export class RpcLimits {
  readonly #limiters: Readonly<Record<LimitClass, RateLimiter>>;

  constructor(clock: Clock, { attestation, signing }: { readonly attestation: number; readonly signing: number }) {
    const limiter = (perSecond: number): RateLimiter => new RateLimiter({ clock, perSecond });
    this.#limiters = {
      attestation: limiter(attestation),
      // As costly as an attestation, and as open to anyone.
      login: limiter(attestation),
      x509Signing: limiter(signing),
      jwtSigning: limiter(signing),
      witSigning: limiter(signing),
      publishing: limiter(PUBLISHING_PER_SECOND),
      status: limiter(STATUS_PER_SECOND),
    };
  }

  /** Resolves when it is the caller's turn; undefined when that is now. @throws IdentityError `resource_exhausted` */
  take(call: Call<Peer>, limit: LimitClass, count = 1): Promise<void> | undefined {
    const { peer } = call;
    if (peer.kind === 'local') return undefined;
    try {
      const turn = { address: peer.address, count, deadlineMs: call.deadlineMs, signal: () => call.signal };
      return this.#limiters[limit].take(turn);
    } catch (error) {
      throw during(`rejecting request due to ${PHRASES[limit]} rate limiting`, error);
    }
  }
}

const PHRASES: Readonly<Record<LimitClass, string>> = {
  attestation: 'attest agent',
  login: 'login',
  x509Signing: 'certificate signing',
  jwtSigning: 'JWT signing request',
  witSigning: 'certificate signing',
  publishing: 'key publishing',
  status: 'post status',
};
