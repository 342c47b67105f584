import { create } from '@bufbuild/protobuf';
import type { Node } from '../../proto/gen/envoy/config/core/v3/base_pb.ts';
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  ResourceSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import { Rejections } from './rejections.ts';
import { type DiscoveryClient, type DiscoveryResource, nextNonce, requireType } from './resources.ts';
import type { Subscription, SubscriptionContext } from './subscription.ts';

const WILDCARD = '*';
/** Stands for the version of a resource that the client was told it cannot have. */
const ABSENT = '';

/**
 * One stream of the delta protocol: each response holds the resources that changed and the names of those that are gone.
 * A name that the client is not entitled to counts as gone, and its resource follows when that changes.
 */
export class Delta<State> implements Subscription<DeltaDiscoveryRequest, DeltaDiscoveryResponse, State> {
  readonly #context: SubscriptionContext<State>;
  readonly #names = new Set<string>();
  /** What the client has, by name. */
  readonly #versions = new Map<string, string>();
  readonly #rejections = new Rejections();
  #node: Node | undefined;
  #isFirst = true;
  #all = false;
  #version = 0;

  constructor(context: SubscriptionContext<State>) {
    this.#context = context;
  }

  receive(request: DeltaDiscoveryRequest): void {
    const { resources, log } = this.#context;
    requireType(request.typeUrl, resources.typeUrl);
    this.#node = request.node ?? this.#node;
    this.#rejections.answered(request.responseNonce, request.errorDetail !== undefined);
    if (request.errorDetail !== undefined) {
      log.warn({ names: [...this.#names], reason: request.errorDetail.message }, `envoy rejected ${resources.noun}`);
    }
    for (const name of request.resourceNamesSubscribe) this.#subscribe(name);
    for (const name of request.resourceNamesUnsubscribe) this.#unsubscribe(name);
    if (this.#isFirst) this.#begin(request);
    this.#isFirst = false;
  }

  respond(state: State): DeltaDiscoveryResponse | undefined {
    if (this.#isFirst) return undefined;
    const { changed, removed } = this.#differences(state);
    if (changed.length === 0 && removed.length === 0) return undefined;
    for (const { name, version } of changed) this.#versions.set(name, version);
    for (const name of removed) {
      if (this.#names.has(name)) this.#versions.set(name, ABSENT);
      else this.#versions.delete(name);
    }
    const nonce = nextNonce();
    this.#rejections.sent(
      nonce,
      changed.map(({ version }) => version),
    );
    return create(DeltaDiscoveryResponseSchema, {
      typeUrl: this.#context.resources.typeUrl,
      systemVersionInfo: String(++this.#version),
      nonce,
      resources: changed.map(({ name, version, body }) => create(ResourceSchema, { name, version, resource: body })),
      removedResources: [...removed],
    });
  }

  #subscribe(name: string): void {
    if (name === WILDCARD) this.#all = true;
    else if (name !== '') this.#names.add(name);
    // Asking again means that the client wants it again.
    this.#versions.delete(name);
  }

  #unsubscribe(name: string): void {
    if (name === WILDCARD) this.#all = false;
    this.#names.delete(name);
    this.#versions.delete(name);
  }

  /** A first request without names asks for all, and tells what the client kept from an earlier stream. */
  #begin(request: DeltaDiscoveryRequest): void {
    if (request.resourceNamesSubscribe.length === 0) this.#all = true;
    for (const [name, version] of Object.entries(request.initialResourceVersions)) {
      if (this.#all || this.#names.has(name)) this.#versions.set(name, version);
    }
  }

  #differences(state: State): { changed: readonly DiscoveryResource[]; removed: readonly string[] } {
    const now = this.#entitledTo(state);
    const changed = [...now.values()].filter(({ name, version }) => this.#versions.get(name) !== version);
    // While something is about to come it cannot be told whether a name is gone.
    if (this.#context.resources.isPending(state)) return { changed, removed: [] };
    const known = new Set([...this.#names, ...this.#versions.keys()]);
    const removed = [...known].filter((name) => !now.has(name) && this.#versions.get(name) !== ABSENT);
    return { changed, removed };
  }

  #entitledTo(state: State): ReadonlyMap<string, DiscoveryResource> {
    const { resources } = this.#context;
    const client: DiscoveryClient = { node: this.#node, rejected: this.#rejections };
    const named = [...this.#names].flatMap((name) => resources.find(name, state, client) ?? []);
    const found = this.#all ? [...resources.all(state, client), ...named] : named;
    return new Map(found.map((resource) => [resource.name, resource]));
  }
}
