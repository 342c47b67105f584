import type { Logger } from '../../runtime/log.ts';
import type { DiscoveryResources } from './resources.ts';

/** What one client of a discovery service has asked for on a stream, and what it was sent. */
export interface Subscription<Request, Response, State> {
  /** Takes a request: the first one, an acknowledgement, a rejection, or a change of what is asked for. */
  receive(request: Request): void;
  /**
   * What the client is to be sent now; undefined when it has everything, or when something is about to come.
   *
   * @throws IdentityError what ends the stream
   */
  respond(state: State): Response | undefined;
}

/** What all subscriptions of a service share. */
export interface SubscriptionContext<State> {
  readonly resources: DiscoveryResources<State>;
  readonly log: Logger;
}
