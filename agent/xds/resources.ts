import { randomBytes } from 'node:crypto';
import type { Any } from '@bufbuild/protobuf/wkt';
import { IdentityError } from '../../core/errors.ts';
import type { Node } from '../../proto/gen/envoy/config/core/v3/base_pb.ts';

/** A resource as a client of a discovery service gets it. */
export interface DiscoveryResource {
  readonly name: string;
  /** Equal versions are equal contents. Envoy shows it to its operators: nothing secret goes into it. */
  readonly version: string;
  readonly body: Any;
}

/** What one client has said of itself on its stream. */
export interface DiscoveryClient {
  /** Absent until it was sent; Envoy sends it once. */
  readonly node: Node | undefined;
  /** Versions of resources in responses that the client has rejected on this stream. */
  readonly rejected: { readonly has: (version: string) => boolean };
}

/**
 * The resources of one discovery service. What a client is entitled to follows from a state: of it, of its identities, of
 * policy.
 */
export interface DiscoveryResources<State> {
  /** Type of its resources, such as `type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret`. */
  readonly typeUrl: string;
  /** What they are called where they are logged: `secrets`. */
  readonly noun: string;
  /** What a client that names none is given. */
  all(state: State, client: DiscoveryClient): readonly DiscoveryResource[];
  /**
   * The resource of a name; undefined when the client is not entitled to one.
   *
   * @throws IdentityError what ends the stream
   */
  find(name: string, state: State, client: DiscoveryClient): DiscoveryResource | undefined;
  /** Whether something is about to come, so that it cannot be told yet what is missing. */
  isPending(state: State): boolean;
}

/** @throws IdentityError `invalid_argument` when something else is asked for than the service has */
export function requireType(asked: string, typeUrl: string): void {
  if (asked === '' || asked === typeUrl) return;
  throw new IdentityError('invalid_argument', `is "${asked}"; this service has ${typeUrl} only`, { field: 'type_url' });
}

/** A nonce that no other response has. */
export function nextNonce(): string {
  return randomBytes(8).toString('hex');
}
