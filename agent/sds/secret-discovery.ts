import type { SecretDiscoveryService } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import type { DiscoveryRequest, DiscoveryResponse } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Logger } from '../../runtime/log.ts';
import { notReady, whenAttested, type WorkloadCall } from '../api/workload-call.ts';
import type { IdentitySource, IdentityView } from '../cache/identities.ts';
import type { Workload } from '../workload-attest/attestation.ts';
import type { SdsConfig } from './config.ts';
import { Delta } from './delta.ts';
import { Secrets } from './secrets.ts';
import { StateOfTheWorld } from './state-of-the-world.ts';
import type { Subscription, SubscriptionContext } from './subscription.ts';

/** What SDS serves from. */
export interface SecretDiscoveryOptions {
  readonly cache: IdentitySource;
  readonly config: SdsConfig;
  readonly log: Logger;
}

/**
 * Envoy's secret discovery service v3, state of the world and delta: an Envoy gets the X.509-SVIDs and bundles of the
 * workload that it was attested as, and each new one as soon as it is there.
 */
export function secretDiscovery(options: SecretDiscoveryOptions): ServiceHandlers<typeof SecretDiscoveryService, Workload> {
  const { cache, config, log } = options;
  const context: SubscriptionContext = { secrets: new Secrets(config), config, log };
  const viewFor = async (call: WorkloadCall): Promise<IdentityView> => {
    if (!cache.ready) throw notReady();
    return whenAttested(call, (selectors) => cache.identitiesFor(selectors));
  };
  return {
    streamSecrets: async (requests, call) =>
      serveStream({ requests, call, view: await viewFor(call), subscription: new StateOfTheWorld(context) }),
    deltaSecrets: async (requests, call) =>
      serveStream({ requests, call, view: await viewFor(call), subscription: new Delta(context) }),
    fetchSecrets: async (request, call) => fetchOnce(request, call, await viewFor(call), new StateOfTheWorld(context)),
  };
}

interface Streaming<Request, Response> {
  readonly requests: AsyncIterable<Request>;
  readonly call: WorkloadCall;
  readonly view: IdentityView;
  readonly subscription: Subscription<Request, Response>;
}

/** Answers requests and changes of the view as they come, until the client has no more requests or goes. */
async function* serveStream<Request, Response>(streaming: Streaming<Request, Response>): AsyncGenerator<Response> {
  const { requests, call, view, subscription } = streaming;
  const events = new Events(call, view);
  const reading = readAll(requests, subscription, events);
  // It is awaited where it ends the stream; a call that is over needs no error.
  reading.catch(() => {});
  try {
    while (!call.ended) {
      const changed = events.next();
      const response = subscription.respond(view.value);
      if (response !== undefined) yield response;
      else if (events.finished) break;
      else await changed;
    }
    if (events.finished) await reading;
  } finally {
    events.close();
  }
}

async function readAll<Request>(
  requests: AsyncIterable<Request>,
  subscription: Pick<Subscription<Request, unknown>, 'receive'>,
  events: Events,
): Promise<void> {
  try {
    for await (const request of requests) {
      subscription.receive(request);
      events.happened();
    }
  } finally {
    events.finish();
  }
}

async function fetchOnce(
  request: DiscoveryRequest,
  call: WorkloadCall,
  view: IdentityView,
  subscription: StateOfTheWorld,
): Promise<DiscoveryResponse> {
  const events = new Events(call, view);
  try {
    subscription.receive(request);
    for (;;) {
      const changed = events.next();
      const response = subscription.respond(view.value);
      // One answer has neither a version nor a nonce.
      if (response !== undefined) return { ...response, versionInfo: '', nonce: '' };
      if (call.ended) throw notReady();
      await changed;
    }
  } finally {
    events.close();
  }
}

/** Everything that may make a response due: a request, a change of the view, the end of the call. */
class Events {
  readonly #unsubscribe: () => void;
  #wake: () => void = () => {};
  /** Whether there are no more requests. */
  finished = false;

  constructor(call: WorkloadCall, view: IdentityView) {
    this.#unsubscribe = view.subscribe(() => this.happened());
    call.onEnd(() => this.happened());
  }

  /** Resolves with the next event; take it before looking, so that none is missed. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  happened(): void {
    this.#wake();
  }

  finish(): void {
    this.finished = true;
    this.happened();
  }

  close(): void {
    this.#unsubscribe();
  }
}
