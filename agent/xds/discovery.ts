import type { Source } from '../../core/current.ts';
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import { notReady, type WorkloadCall } from '../api/workload-call.ts';
import { Delta } from './delta.ts';
import { StateOfTheWorld } from './state-of-the-world.ts';
import type { Subscription, SubscriptionContext } from './subscription.ts';

/** What a discovery service serves from. */
export interface DiscoveryOptions<State> extends SubscriptionContext<State> {
  /**
   * The state of the asking client, with its changes.
   *
   * @throws IdentityError why it is given nothing
   */
  readonly viewFor: (call: WorkloadCall) => Promise<Source<State>>;
}

/** The three methods of a discovery service. */
export interface DiscoveryHandlers {
  readonly stream: (requests: AsyncIterable<DiscoveryRequest>, call: WorkloadCall) => Promise<AsyncIterable<DiscoveryResponse>>;
  readonly delta: (
    requests: AsyncIterable<DeltaDiscoveryRequest>,
    call: WorkloadCall,
  ) => Promise<AsyncIterable<DeltaDiscoveryResponse>>;
  readonly fetch: (request: DiscoveryRequest, call: WorkloadCall) => Promise<DiscoveryResponse>;
}

/** A discovery service of Envoy (xDS v3): state of the world, delta, and one answer. */
export function discovery<State>(options: DiscoveryOptions<State>): DiscoveryHandlers {
  const { viewFor } = options;
  return {
    stream: async (requests, call) =>
      serveStream({ requests, call, view: await viewFor(call), subscription: new StateOfTheWorld(options) }),
    delta: async (requests, call) => serveStream({ requests, call, view: await viewFor(call), subscription: new Delta(options) }),
    fetch: async (request, call) =>
      fetchOnce(request, { call, view: await viewFor(call), subscription: new StateOfTheWorld(options) }),
  };
}

interface Streaming<Request, Response, State> {
  readonly requests: AsyncIterable<Request>;
  readonly call: WorkloadCall;
  readonly view: Source<State>;
  readonly subscription: Subscription<Request, Response, State>;
}

/** Answers requests and changes of the view as they come, until the client has no more requests or goes. */
async function* serveStream<Request, Response, State>(streaming: Streaming<Request, Response, State>): AsyncGenerator<Response> {
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
  subscription: Pick<Subscription<Request, unknown, never>, 'receive'>,
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

async function fetchOnce<State>(
  request: DiscoveryRequest,
  { call, view, subscription }: Omit<Streaming<DiscoveryRequest, DiscoveryResponse, State>, 'requests'>,
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

  constructor(call: WorkloadCall, view: Source<unknown>) {
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
