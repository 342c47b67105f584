import { create } from '@bufbuild/protobuf';
import { IdentityError } from '../../core/errors.ts';
import type { Node } from '../../proto/gen/envoy/config/core/v3/base_pb.ts';
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import type { SecretResource } from './secrets.ts';
import { nextNonce, requireSecretType, type Subscription, type SubscriptionContext } from './subscription.ts';
import { type Validator, validatorFor } from './validator.ts';

/**
 * One stream of the state-of-the-world protocol: each response holds every secret that is asked for. No names ask for all.
 * A name that the workload is not entitled to ends the stream with `invalid_argument`, as in SPIRE, whose versions count up
 * and whose nonces are random.
 */
export class StateOfTheWorld implements Subscription<DiscoveryRequest, DiscoveryResponse> {
  readonly #context: SubscriptionContext;
  #node: Node | undefined;
  #names: readonly string[] | undefined;
  #typeUrl = '';
  #nonce = '';
  #version = 0;
  /** The versions of the secrets that were sent last. */
  #sent = '';
  #asked = false;

  constructor(context: SubscriptionContext) {
    this.#context = context;
  }

  receive(request: DiscoveryRequest): void {
    requireSecretType(request.typeUrl);
    const { log } = this.#context;
    if (request.errorDetail !== undefined) {
      log.warn({ names: request.resourceNames, reason: request.errorDetail.message }, 'envoy rejected secrets');
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

  respond(workload: WorkloadIdentities): DiscoveryResponse | undefined {
    if (this.#names === undefined) return undefined;
    const found = this.#select(this.#names, workload);
    if (found === undefined) return undefined;
    const versions = found.map(({ name, version }) => `${name}\0${version}`).join('\0');
    if (!this.#asked && versions === this.#sent) return undefined;
    if (versions !== this.#sent || this.#version === 0) this.#version++;
    this.#sent = versions;
    this.#asked = false;
    this.#nonce = nextNonce();
    return create(DiscoveryResponseSchema, {
      typeUrl: this.#typeUrl,
      versionInfo: String(this.#version),
      nonce: this.#nonce,
      resources: found.map(({ secret }) => secret),
    });
  }

  /** Undefined while something that is asked for is about to be signed. */
  #select(names: readonly string[], workload: WorkloadIdentities): readonly SecretResource[] | undefined {
    const { secrets } = this.#context;
    const validator: Validator = validatorFor(this.#node, this.#context.config.disableSpiffeCertValidation);
    if (names.length === 0) return workload.pending > 0 ? undefined : secrets.all(workload, validator);
    const found = names.map((name) => ({ name, secret: secrets.find(name, workload, validator) }));
    const missing = found.filter(({ secret }) => secret === undefined).map(({ name }) => name);
    if (missing.length === 0) return found.flatMap(({ secret }) => secret ?? []);
    if (workload.pending > 0) return undefined;
    throw new IdentityError(
      'invalid_argument',
      `workload is not authorized for the requested identities ${JSON.stringify(missing)}`,
    );
  }
}
