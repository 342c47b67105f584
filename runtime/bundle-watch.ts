import { Backoff } from '../core/backoff.ts';
import { sleep, type Clock } from '../core/clock.ts';
import { IdentityError } from '../core/errors.ts';
import { Admin } from '../proto/gen/countersign/admin/v1/admin_pb.ts';
import { Bundle as BundleService } from '../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import type { Bundle as WireBundle } from '../proto/gen/spire/api/types/bundle_pb.ts';
import type { Bundle } from '../spiffe/bundle.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import { parseWireBundle } from './bundle-conversion.ts';
import { toIdentityError, type GrpcConnection } from './grpc-client.ts';

/** What {@link followBundle} needs. */
export interface BundleWatchOptions {
  readonly connection: GrpcConnection;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly onBundle: (bundle: Bundle) => void;
  /** Called before the first `onBundle` when the server does not know `countersign.admin.v1`. */
  readonly onForeign?: () => void;
  /** Called when the CA cannot be followed; what is wrong has ended with the next `onBundle`. */
  readonly onOutage: (error: IdentityError) => void;
  readonly signal: AbortSignal;
}

const RETRY = { initialMs: 200, maxMs: 10_000 };
const GET_TIMEOUT_MS = 30_000;
// What a server says is taken within reason: a hint of a day would leave a revoked authority trusted for as long.
const MIN_POLL_MS = 5_000;
const MAX_POLL_MS = 300_000;

/**
 * Tells of the trust domain's bundle and of each change, until the signal aborts: as the CA pushes it, or from a server that
 * does not know how to, by asking at the bundle's refresh hint.
 */
export async function followBundle(options: BundleWatchOptions): Promise<void> {
  const { clock, signal, onOutage } = options;
  const backoff = new Backoff(RETRY);
  let follow = watchOnce;
  while (!signal.aborted) {
    let hasAnswered = false;
    try {
      await follow(options, () => {
        hasAnswered = true;
        backoff.reset();
      });
    } catch (thrown) {
      if (signal.aborted) return;
      const error = toIdentityError(thrown);
      if (error.code === 'unimplemented' && follow === watchOnce) {
        follow = poll;
        options.onForeign?.();
        continue;
      }
      // A stream that ended after it had told something (its SVID ran out, the CA restarts) is no outage yet.
      if (!hasAnswered) onOutage(error);
    }
    await sleep(clock, backoff.nextMs(), signal).catch(() => {});
  }
}

type Follow = (options: BundleWatchOptions, onAnswer: () => void) => Promise<void>;

const watchOnce: Follow = async (options, onAnswer) => {
  for await (const wire of options.connection.client(Admin).watchBundle({}, { signal: options.signal })) {
    options.onBundle(ownBundle(wire, options.trustDomain));
    onAnswer();
  }
};

const poll: Follow = async (options, onAnswer) => {
  const { connection, trustDomain, clock, signal } = options;
  for (;;) {
    const wire = await connection.client(BundleService).getBundle({}, { signal, timeoutMs: GET_TIMEOUT_MS });
    const bundle = ownBundle(wire, trustDomain);
    options.onBundle(bundle);
    onAnswer();
    const hintMs = (bundle.refreshHintSeconds ?? 0) * 1000 || MAX_POLL_MS;
    await sleep(clock, Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, hintMs)), signal);
  }
};

function ownBundle(wire: WireBundle, trustDomain: TrustDomain): Bundle {
  const bundle = parseWireBundle(wire);
  if (bundle.trustDomain.equals(trustDomain)) return bundle;
  const message = `the CA is of the trust domain ${bundle.trustDomain.name}, the configuration says ${trustDomain.name}; correct one of them`;
  throw new IdentityError('failed_precondition', message, { field: 'trustDomain' });
}
