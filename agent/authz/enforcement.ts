import type { Snapshot } from '../../policy/compile/snapshot.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { AuthorizationSettings } from './policy-update.ts';
import type { RequestAuthentications } from './request-authentications.ts';

/** The policy in force at one moment. Immutable: compare with `===`. */
export interface Enforcement {
  /**
   * All policies. Where one could not be read, a DENY policy under its name stands for it, with the one rule that matches
   * everything: for its namespace, and for all workloads where it has none.
   */
  readonly snapshot: Snapshot;
  readonly requestAuthentications: RequestAuthentications;
  /** What registrations say of the workloads of the trust domain, by SPIFFE ID as text; those without any namespace are not here. */
  readonly workloads: ReadonlyMap<string, WorkloadMetadata>;
  /** What the registration of a caller says; empty where it says nothing. */
  readonly metadataOf: (spiffeId: SpiffeId) => WorkloadMetadata;
  /** SPIFFE IDs whose metadata could not be read: rules over it count as rules over what cannot be seen. */
  readonly unreadableWorkloads: ReadonlySet<string>;
  /** Names of resources that could not be read, `<kind>/<namespace>/<name>`. */
  readonly unreadablePolicies: ReadonlySet<string>;
  readonly settings: AuthorizationSettings;
  /**
   * Set once the CA delivers policy no longer (a SPIRE server, or one of before): the namespaces whose policies are here. For
   * another one there is no policy then.
   */
  readonly keptFor: ReadonlySet<string> | 'all' | undefined;
  /** The CA's revision that this is. */
  readonly revision: bigint;
  /** When it was put in force, milliseconds since the epoch. How old it may be by now, `Staleness` says. */
  readonly syncedAtMs: number;
}
