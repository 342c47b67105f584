import type { Clock, Timer } from '../../core/clock.ts';
import {
  WITBundlesResponseSchema,
  WITSVIDResponseSchema,
  type WITSVIDRequest,
} from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { encodeMessage, type EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import { formatBundleDocument } from '../../spiffe/bundle.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { AgentEntry, IdentityView } from '../cache/identities.ts';
import type { WitIdentity, WitSvidCache } from '../cache/wit-svid-cache.ts';
import { sharedProjection, type Projection } from './view-stream.ts';
import { noIdentity, type WorkloadCall } from './workload-call.ts';

/** `FetchWITBundles`: JWK sets with WIT keys only (Workload API §7.2.2). */
export const witBundles: Projection = sharedProjection({
  encode({ bundle, federatedBundles }) {
    const documents = [bundle, ...federatedBundles.values()].map((each) => [
      each.trustDomain.idString,
      formatBundleDocument(each, { include: ['wit'], standardJwks: true }),
    ]);
    return encodeMessage(WITBundlesResponseSchema, { bundles: Object.fromEntries(documents) });
  },
  refusal: ({ entries }) => (entries.length === 0 ? noIdentity() : undefined),
  isWaiting: () => false,
});

/** Refuses a wrong ID, before anybody is attested. @throws IdentityError `invalid_argument` */
export function checkWitSvidRequest({ spiffeId }: WITSVIDRequest): void {
  if (spiffeId !== '') parseSpiffeId(spiffeId, 'spiffe_id');
}

/** What {@link witSvids} serves from. */
export interface WitStreamOptions {
  readonly view: IdentityView;
  readonly cache: WitSvidCache;
  readonly clock: Clock;
  readonly call: WorkloadCall;
}

/**
 * `FetchWITSVID` (Workload API §7.2.1): the full set at once, and again when an SVID is renewed, withdrawn or its entry changes.
 *
 * @throws IdentityError `permission_denied` when the caller has no such identity (any more)
 */
export async function* witSvids(
  { spiffeId }: WITSVIDRequest,
  { view, cache, clock, call }: WitStreamOptions,
): AsyncGenerator<EncodedMessage, void, undefined> {
  const changes = new Changes(view, cache, call);
  let sent: EncodedMessage | undefined;
  while (!call.ended) {
    changes.forget();
    const entries = view.value.entries.filter((entry) => spiffeId === '' || entry.spiffeId.toString() === spiffeId);
    if (entries.length === 0) throw noIdentity();
    const svids = await cache.get(entries);
    const message = encodeSvids(entries, svids);
    if (sent === undefined || Buffer.compare(sent.frame, message.frame) !== 0) yield message;
    sent = message;
    await changes.next(clock, Math.min(...svids.map(({ lifetime }) => lifetime.dueInMs(clock))));
  }
}

function encodeSvids(entries: readonly AgentEntry[], identities: readonly WitIdentity[]): EncodedMessage {
  const svids = entries.map(({ spiffeId, hint }, index) => ({
    spiffeId: spiffeId.toString(),
    witSvid: identities[index]?.token ?? '',
    witSvidKey: identities[index]?.privateKeyJwk ?? '',
    hint,
  }));
  return encodeMessage(WITSVIDResponseSchema, { svids });
}

// An SVID that is due but could not be renewed is tried again after this long.
const MIN_WAIT_MS = 5_000;

/** Waits for whatever may change the answer. */
class Changes {
  #isDirty = false;
  #wake: () => void = () => {};

  constructor(view: IdentityView, cache: WitSvidCache, call: WorkloadCall) {
    const note = (): void => {
      this.#isDirty = true;
      this.#wake();
    };
    const endings = [view.subscribe(note), cache.withdrawals.subscribe(note)];
    call.onEnd(() => {
      for (const end of endings) end();
      note();
    });
  }

  /** Everything up to now has been looked at. */
  forget(): void {
    this.#isDirty = false;
  }

  /** Waits for the next change, at most so long. */
  async next(clock: Clock, waitMs: number): Promise<void> {
    if (this.#isDirty) return;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = clock.setTimer(Math.max(waitMs, MIN_WAIT_MS), resolve);
    });
    timer?.cancel();
  }
}
