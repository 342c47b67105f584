import { create } from '@bufbuild/protobuf';
import { IdentityError } from '../../core/errors.ts';
import type { Node } from '../../proto/gen/envoy/config/core/v3/base_pb.ts';
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import { Rejections } from './rejections.ts';
import { type DiscoveryClient, type DiscoveryResource, nextNonce, requireType } from './resources.ts';
import type { Subscription, SubscriptionContext } from './subscription.ts';

/**
 * One stream of the state-of-the-world protocol: each response holds every resource that is asked for. No names ask for all.
 * A name that the client is not entitled to ends the stream with `invalid_argument`, as in SPIRE, whose versions count up
 * and whose nonces are random.
 */
export class StateOfTheWorld<State> implements Subscription<DiscoveryRequest, DiscoveryResponse, State> {
  readonly #context: SubscriptionContext<State>;
  readonly #rejections = new Rejections();
  #node: Node | undefined;
  #names: readonly string[] | undefined;
  #typeUrl = '';
  #nonce = '';
  #version = 0;
  /** The versions of the resources that were sent last. */
  #sent = '';
  #asked = false;

  constructor(context: SubscriptionContext<State>) {
    this.#context = context;
  }

  receive(request: DiscoveryRequest): void {
    const { resources, log } = this.#context;
    requireType(request.typeUrl, resources.typeUrl);
    this.#rejections.answered(request.responseNonce, request.errorDetail !== undefined);
    if (request.errorDetail !== undefined) {
      log.warn({ names: request.resourceNames, reason: request.errorDetail.message }, `envoy rejected ${resources.noun}`);
    }
    // A reply to an older response than the last: what it asks for comes again with the reply to the last.
    if (this.#nonce !== '' && request.responseNonce !== this.#nonce) return;
    // Envoy sends its node with the first request only.
    this.#node = request.node ?? this.#node;
    this.#typeUrl = request.typeUrl;
    const names = [...new Set(request.resourceNames.filter((name) => name !== ''))].sort();
    if (this.#names?.join('\0') !== names.join('\0')) this.#asked = true;
    this.#names = names;
  }

  respond(state: State): DiscoveryResponse | undefined {
    if (this.#names === undefined) return undefined;
    const found = this.#select(this.#names, state);
    if (found === undefined) return undefined;
    const versions = found.map(({ name, version }) => `${name}\0${version}`).join('\0');
    if (!this.#asked && versions === this.#sent) return undefined;
    if (versions !== this.#sent || this.#version === 0) this.#version++;
    this.#sent = versions;
    this.#asked = false;
    this.#nonce = nextNonce();
    this.#rejections.sent(
      this.#nonce,
      found.map(({ version }) => version),
    );
    return create(DiscoveryResponseSchema, {
      typeUrl: this.#typeUrl,
      versionInfo: String(this.#version),
      nonce: this.#nonce,
      resources: found.map(({ body }) => body),
    });
  }

  /** Undefined while something that is asked for is about to come. */
  #select(names: readonly string[], state: State): readonly DiscoveryResource[] | undefined {
    const { resources } = this.#context;
    const client: DiscoveryClient = { node: this.#node, rejected: this.#rejections };
    if (names.length === 0) return resources.isPending(state) ? undefined : resources.all(state, client);
    const found = names.map((name) => ({ name, resource: resources.find(name, state, client) }));
    const missing = found.filter(({ resource }) => resource === undefined).map(({ name }) => name);
    if (missing.length === 0) return found.flatMap(({ resource }) => resource ?? []);
    if (resources.isPending(state)) return undefined;
    throw new IdentityError(
      'invalid_argument',
      `workload is not authorized for the requested identities ${JSON.stringify(missing)}`,
    );
  }
}
