import type { Snapshot } from '../../policy/compile/snapshot.ts';
import type { Call, CallField } from '../../policy/model.ts';
import { normalizePath } from '../../policy/normalize/path.ts';
import { verdictOf } from '../../policy/simulate.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';

/** What {@link CallPolicy} looks at. */
export interface CallPolicyOptions {
  /** The policies as they are now, compiled. */
  readonly policies: { current(): Promise<Snapshot> };
  /** What registrations say of a workload, by its SPIFFE ID as text. */
  readonly metadataOf: (spiffeId: string) => WorkloadMetadata | undefined;
}

/**
 * Whether authorization policy denies a workload every call to another, whatever is asked for. A token for such a call is worth
 * nothing, so none is issued. What depends on the request, on the user, or on labels of pods, which the CA does not know, is left
 * to where the call is decided.
 */
export class CallPolicy {
  readonly #options: CallPolicyOptions;

  constructor(options: CallPolicyOptions) {
    this.#options = options;
  }

  /** @param destinations the workloads that the token's audience names; none: nothing is denied here */
  async deniesAll(source: SpiffeId, destinations: readonly SpiffeId[]): Promise<boolean> {
    if (destinations.length === 0) return false;
    const snapshot = await this.#options.policies.current();
    return destinations.every((destination) => this.#denies(snapshot, source, destination));
  }

  #denies(snapshot: Snapshot, source: SpiffeId, destination: SpiffeId): boolean {
    const call = this.#callOf(source, destination);
    const { verdict, reason } = verdictOf(snapshot, call);
    return verdict === 'deny' && (reason === 'denied_by_rule' || !mayBeAllowedByLabel(snapshot, call));
  }

  #callOf(source: SpiffeId, destination: SpiffeId): Call {
    const { metadataOf } = this.#options;
    return {
      source: { spiffeId: source, ...metadataOf(source.toString()) },
      destination: { spiffeId: destination, ...metadataOf(destination.toString()), selectors: new Set() },
      request: { method: 'GET', host: '', path: normalizePath('/'), headers: new Map() },
      unrecorded: UNKNOWN,
      atMs: 0,
    };
  }
}

const UNKNOWN: ReadonlySet<CallField> = new Set([
  'source.address',
  'destination.port',
  'request.method',
  'request.host',
  'request.path',
  'request.headers',
  'request.grpc',
  'user',
]);

/** Whether an ALLOW policy may be about the destination by what only its node knows of it. */
function mayBeAllowedByLabel({ policies }: Snapshot, { destination: { namespace } }: Call): boolean {
  return policies.values().some(({ source: { name, action, mode, selector, attested } }) => {
    if (action !== 'ALLOW' || mode !== 'Enforce' || (selector === undefined && attested === undefined)) return false;
    return name.namespace === '' || namespace === undefined || name.namespace === namespace;
  });
}
