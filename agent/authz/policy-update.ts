import type { DefaultAction } from '../../policy/model.ts';
import type { Policy } from '../../policy/policy.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { IssuerKey } from '../../policy/users/token-issuer.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';

/** What holds for authorization in all of the trust domain. */
export interface AuthorizationSettings {
  /** What is decided where no ALLOW policy selects the destination. */
  readonly defaultAction: DefaultAction;
  /** Issuer of the CA's token exchange: it alone may name SPIFFE IDs in user tokens. Absent when it is not served. */
  readonly exchangeIssuer: string | undefined;
  /** Where the exchange publishes its keys. */
  readonly exchangeJwksUri: string | undefined;
  /** The exchange's keys, as they are now. Absent from a CA that does not deliver them: then they are fetched. */
  readonly exchangeKeys?: readonly IssuerKey[] | undefined;
}

/** The one name of settings. A CA that delivers policy sends them with its full state. */
export const SETTINGS = 'authorization';

/** Something that the CA sent and that cannot be read. What it may concern is closed until it is replaced. */
export const UNREADABLE = Symbol('unreadable');

/** A policy resource, as it was read. */
export type PolicyDocument =
  | { readonly kind: 'policy'; readonly policy: Policy }
  | { readonly kind: 'authentication'; readonly authentication: RequestAuthentication };

/** What changed under a name: something new, something unreadable, or nothing is there any more. */
type Changed<T> = ReadonlyMap<string, T | typeof UNREADABLE | undefined>;

/** What synchronisation delivers of authorization; put in force as one. */
export interface PolicyUpdate {
  /** Whether this is the full state: what is not in it is gone. */
  readonly isSnapshot: boolean;
  /** What the agent then has. */
  readonly revision: bigint;
  /** By `<kind>/<namespace>/<name>`. */
  readonly policies: Changed<PolicyDocument>;
  /** By SPIFFE ID. */
  readonly workloads: Changed<WorkloadMetadata>;
  /** By name, such as {@link SETTINGS}. */
  readonly settings: Changed<AuthorizationSettings>;
}
