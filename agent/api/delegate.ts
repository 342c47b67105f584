import { IdentityError } from '../../core/errors.ts';
import type { Selector as WireSelector } from '../../proto/gen/spire/api/types/selector_pb.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { IdentityCache } from '../cache/identity-cache.ts';
import type { IdentityView } from '../cache/identities.ts';
import { SelectorSet } from '../cache/selectors.ts';
import type { WorkloadAttestation } from '../workload-attest/attestation.ts';
import { noIdentity, notReady, whenAttested, type WorkloadCall } from './workload-call.ts';

/** What decides who may act for other workloads. */
export interface DelegateOptions {
  readonly cache: IdentityCache;
  readonly attestation: WorkloadAttestation;
  /** The identities whose holders may ask for the identities of others. */
  readonly authorizedDelegates: readonly SpiffeId[];
}

/** Decides who may ask for the identities of other workloads: processes attested as one of the authorized delegates. */
export class Delegates {
  readonly #options: DelegateOptions;
  readonly #authorized: ReadonlySet<string>;

  constructor(options: DelegateOptions) {
    this.#options = options;
    this.#authorized = new Set(options.authorizedDelegates.map(String));
  }

  /**
   * Attests the caller and goes on with the view of its own entries, which must stay authorized.
   *
   * @throws IdentityError `permission_denied`
   */
  authorize<T>(call: WorkloadCall, proceed: (delegate: IdentityView) => T | Promise<T>): T | Promise<T> {
    const { cache } = this.#options;
    if (!cache.ready) throw notReady();
    return whenAttested(call, (selectors) => {
      const delegate = cache.entitlementsOf(selectors);
      const refusal = this.refusal(delegate);
      if (refusal !== undefined) throw refusal;
      return proceed(delegate);
    });
  }

  /** Why the delegate may not act (any more); undefined when it may. */
  refusal(delegate: IdentityView): IdentityError | undefined {
    const { entries } = delegate.value;
    if (entries.length === 0) return noIdentity();
    if (entries.some(({ spiffeId }) => this.#authorized.has(spiffeId.toString()))) return undefined;
    return new IdentityError('permission_denied', 'caller not configured as an authorized delegate');
  }

  /**
   * The selectors that a delegate names: directly, or by the pid of a process, which is attested.
   *
   * @throws IdentityError `invalid_argument`, or what the attestation throws
   */
  async selectorsOf({
    selectors,
    pid,
  }: {
    readonly selectors: readonly WireSelector[];
    readonly pid: number;
  }): Promise<SelectorSet> {
    if (selectors.length > 0 === (pid !== 0)) {
      throw new IdentityError('invalid_argument', 'must provide either selectors or non-zero PID, but not both');
    }
    if (pid === 0) return SelectorSet.of(selectors.map(checkSelector));
    using workload = this.#options.attestation.ofPid(pid);
    return await workload.attest(new AbortController().signal);
  }
}

function checkSelector(selector: WireSelector, index: number): WireSelector {
  const { type, value } = selector;
  if (type !== '' && !type.includes(':') && value !== '') return selector;
  const message = 'needs a type without colon and a value';
  throw new IdentityError('invalid_argument', message, { field: `selectors[${index}]` });
}
