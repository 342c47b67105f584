import { create } from '@bufbuild/protobuf';
import type { Node } from '../../proto/gen/envoy/config/core/v3/base_pb.ts';
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  ResourceSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import type { SecretResource } from './secrets.ts';
import { nextNonce, requireSecretType, SECRET_TYPE_URL, type Subscription, type SubscriptionContext } from './subscription.ts';
import { validatorFor } from './validator.ts';

const WILDCARD = '*';
/** Stands for the version of a secret that the client was told it cannot have. */
const ABSENT = '';

/**
 * One stream of the delta protocol: each response holds the secrets that changed and the names of those that are gone. A
 * name that the workload is not entitled to counts as gone, and its secret follows when that changes.
 */
export class Delta implements Subscription<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
  readonly #context: SubscriptionContext;
  readonly #names = new Set<string>();
  /** What the client has, by name. */
  readonly #versions = new Map<string, string>();
  #node: Node | undefined;
  #isFirst = true;
  #all = false;
  #version = 0;

  constructor(context: SubscriptionContext) {
    this.#context = context;
  }

  receive(request: DeltaDiscoveryRequest): void {
    requireSecretType(request.typeUrl);
    this.#node = request.node ?? this.#node;
    if (request.errorDetail !== undefined) {
      this.#context.log.warn({ names: [...this.#names], reason: request.errorDetail.message }, 'envoy rejected secrets');
    }
    for (const name of request.resourceNamesSubscribe) this.#subscribe(name);
    for (const name of request.resourceNamesUnsubscribe) this.#unsubscribe(name);
    if (this.#isFirst) this.#begin(request);
    this.#isFirst = false;
  }

  respond(workload: WorkloadIdentities): DeltaDiscoveryResponse | undefined {
    if (this.#isFirst) return undefined;
    const { changed, removed } = this.#differences(workload);
    if (changed.length === 0 && removed.length === 0) return undefined;
    for (const { name, version } of changed) this.#versions.set(name, version);
    for (const name of removed) {
      if (this.#names.has(name)) this.#versions.set(name, ABSENT);
      else this.#versions.delete(name);
    }
    return create(DeltaDiscoveryResponseSchema, {
      typeUrl: SECRET_TYPE_URL,
      systemVersionInfo: String(++this.#version),
      nonce: nextNonce(),
      resources: changed.map(({ name, version, secret }) => create(ResourceSchema, { name, version, resource: secret })),
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

  #differences(workload: WorkloadIdentities): { changed: readonly SecretResource[]; removed: readonly string[] } {
    const now = this.#entitledTo(workload);
    const changed = [...now.values()].filter(({ name, version }) => this.#versions.get(name) !== version);
    // While something is being signed it cannot be told whether a name is gone.
    if (workload.pending > 0) return { changed, removed: [] };
    const known = new Set([...this.#names, ...this.#versions.keys()]);
    const removed = [...known].filter((name) => !now.has(name) && this.#versions.get(name) !== ABSENT);
    return { changed, removed };
  }

  #entitledTo(workload: WorkloadIdentities): ReadonlyMap<string, SecretResource> {
    const { secrets, config } = this.#context;
    const validator = validatorFor(this.#node, config.disableSpiffeCertValidation);
    const named = [...this.#names].flatMap((name) => secrets.find(name, workload, validator) ?? []);
    const resources = this.#all ? [...secrets.all(workload, validator), ...named] : named;
    return new Map(resources.map((resource) => [resource.name, resource]));
  }
}
