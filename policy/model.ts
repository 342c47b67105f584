import type { Json } from './schema/json.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import type { IpAddress } from './match/ip.ts';
import type { NormalizedPath } from './normalize/path.ts';
import type { Refusal } from './normalize/refusal.ts';

export type { Refusal } from './normalize/refusal.ts';

/** Who calls: what the connection proves of it, and what the registration of that identity says. */
export interface Source {
  /** Absent: the peer has not shown an SVID. */
  readonly spiffeId?: SpiffeId;
  /** From the registration of the identity, never from its path; absent where that has none. */
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly address?: IpAddress;
}

/**
 * The workload that is called. Keep one object for each workload and port: what applies to it is worked out once for each
 * object and snapshot.
 */
export interface Destination {
  readonly spiffeId?: SpiffeId;
  /** Attestation selectors as text, such as `k8s:pod-label:app:orders`. */
  readonly selectors: ReadonlySet<string>;
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly port?: number;
}

/** Service and method of a gRPC call, such as `shop.v1.Orders` and `Get`. */
export interface GrpcCall {
  readonly service: string;
  readonly method: string;
}

/** A request, made by `normalizeRequest`. Header names are in lower case. */
export interface Request {
  readonly method: string;
  /** In lower case, without a port; empty where the request names none. */
  readonly host: string;
  readonly path: NormalizedPath;
  /** Those that came in several lines are joined here. */
  readonly headers: ReadonlyMap<string, string>;
  /** The lines of headers that came in several, one by one: one server reads the first, another the last. Absent where there are none. */
  readonly repeated?: ReadonlyMap<string, readonly string[]>;
  /** Absent where the request is no gRPC for certain. */
  readonly grpc?: GrpcCall;
}

/** A link of the chain of callers in a token (RFC 8693 §4.1). */
export interface Actor {
  readonly subject: string;
  readonly issuer?: string;
}

/** A user, from a token that has been verified. */
export interface User {
  readonly issuer: string;
  readonly subject: string;
  readonly claims: Readonly<Record<string, Json>>;
  /** Outermost first: the service that calls now, then the one that called it. */
  readonly actors: readonly Actor[];
}

/** A part of a call that an enforcement point may be unable to see, or a recording may lack. */
export type CallField =
  | 'source.spiffeId'
  | 'source.workload'
  | 'source.address'
  | 'destination.port'
  | 'request.method'
  | 'request.host'
  | 'request.path'
  | 'request.headers'
  | 'request.grpc'
  | 'user';

/**
 * One call, or one connection where `request` is absent.
 *
 * @example
 * const call: Call = { source: { spiffeId }, destination, request: normalized.request, atMs: clock.nowMs() };
 */
export interface Call {
  readonly source: Source;
  readonly destination: Destination;
  /** Absent on a connection whose requests cannot be seen. */
  readonly request?: Request;
  /** Why the request could not be normalised; then `request` is absent. */
  readonly refused?: Refusal;
  readonly user?: User;
  readonly atMs: number;
  /** What the enforcement point cannot see, beyond what is plainly absent: rules over it hold for DENY and not for ALLOW. */
  readonly unseen?: ReadonlySet<CallField>;
  /** What the recording of the call lacks: a verdict that depends on it is unknown to `simulate`. */
  readonly unrecorded?: ReadonlySet<CallField>;
  /** Answers to relation queries, by `relationKey`. */
  readonly relations?: ReadonlyMap<string, boolean>;
}

/** Which policy, as Kubernetes names it. `namespace` is empty for a ClusterAuthorizationPolicy. */
export interface PolicyName {
  readonly kind: 'AuthorizationPolicy' | 'ClusterAuthorizationPolicy';
  readonly namespace: string;
  readonly name: string;
}

/** Why a call was decided as it was; a {@link Refusal} when its request is ambiguous. */
export type ReasonCode =
  | 'denied_by_rule'
  | 'allowed_by_rule'
  | 'no_rule_matches'
  | 'default_allow'
  | 'default_audit'
  | 'default_deny'
  | Refusal;

/** A rule of a policy. */
export interface RuleReference {
  readonly policy: PolicyName;
  /** Place in `spec.rules`, from 0 on. */
  readonly rule: number;
}

/** The answer to one call. */
export interface Decision {
  readonly verdict: 'allow' | 'deny';
  readonly reason: ReasonCode;
  /** The policy and the place of the rule that decided, where one did. */
  readonly policy?: PolicyName;
  readonly rule?: number;
  /** What would be decided if all policies of mode DryRun were enforced too; absent where none concerns the destination. */
  readonly dryRun?: Decision;
  /** Rules of AUDIT policies that match. */
  readonly audits: readonly RuleReference[];
  /** Relations whose answers could change the decision and were not there; `decideAsync` asks for them. */
  readonly pending?: readonly RelationQuery[];
}

/** A question to a relation store, as OpenFGA words it. */
export interface RelationQuery {
  readonly user: string;
  readonly relation: string;
  readonly object: string;
}

/** What is decided where no ALLOW policy selects the destination. */
export type DefaultAction = 'audit' | 'allow' | 'deny';
