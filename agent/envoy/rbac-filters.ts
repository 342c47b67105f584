import { createHash } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { type Any, AnySchema, anyPack } from '@bufbuild/protobuf/wkt';
import { TypedExtensionConfigSchema } from '../../proto/gen/envoy/config/core/v3/extension_pb.ts';
import { RBACSchema as HttpFilterSchema } from '../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts';
import { RBACSchema as NetworkFilterSchema } from '../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.ts';
import type { Enforcement } from '../authz/enforcement.ts';
import type { KnownDestination } from '../authz/destinations.ts';
import type { WorkloadIdentities } from '../cache/identities.ts';
import type { DiscoveryClient, DiscoveryResource, DiscoveryResources } from '../xds/resources.ts';
import { policyOf, type PolicyInForce, type ProxyPolicy, type ProxyState } from './proxy-policy.ts';
import { type AcceptedTokens, compileRbac, type RbacInput, type RbacRules, rulesFor } from './rbac/compile.ts';
import type { ExpressionLimits } from './rbac/path-conditions.ts';
import type { TrustDomains } from './rbac/two-names.ts';
import { parseResourceName } from './resource-name.ts';

/** Names of the filters that are served. */
export const RBAC_HTTP = 'countersign.dev/rbac-http';
export const RBAC_NETWORK = 'countersign.dev/rbac-network';

const STAT_PREFIX = 'countersign';
const SHADOW_PREFIX = 'dry_run_';

/** Without a limit, and what every Envoy takes: programs of 100 instructions, and no expression of a policy. */
const UNLIMITED: ExpressionLimits = { maxCost: Infinity, regexes: true };
const FRUGAL: ExpressionLimits = { maxCost: 70, regexes: false };

/**
 * Envoy's RBAC filters for the workload as which a proxy was attested. Each is compiled once for a destination and a policy in
 * force. An Envoy that rejects one (its limit for regular expressions is low unless it is told otherwise) is given one without
 * expressions in its place, which is narrower, not wider; the next one may have them again.
 */
export class RbacFilters implements DiscoveryResources<ProxyState> {
  readonly typeUrl = `type.googleapis.com/${TypedExtensionConfigSchema.typeName}`;
  readonly noun = 'filters';
  readonly #inForce: PolicyInForce;
  readonly #compiled = new WeakMap<Enforcement, WeakMap<KnownDestination, Map<string, Filter>>>();

  constructor(inForce: PolicyInForce) {
    this.#inForce = inForce;
  }

  all(state: ProxyState, client: DiscoveryClient): readonly DiscoveryResource[] {
    return [RBAC_HTTP, RBAC_NETWORK].flatMap((name) => this.find(name, state, client) ?? []);
  }

  find(name: string, { asking, identities }: ProxyState, { rejected }: DiscoveryClient): DiscoveryResource | undefined {
    const { base, id } = parseResourceName(name);
    if (base !== RBAC_HTTP && base !== RBAC_NETWORK) return undefined;
    const policy = policyOf(asking, id, this.#inForce);
    const wanted = { kind: base, isFrugal: false, trustDomains: trustDomainsOf(identities) } as const;
    const full = this.#filter(policy, wanted);
    const { version, config } = rejected.has(full.version) ? this.#filter(policy, { ...wanted, isFrugal: true }) : full;
    const resource = create(TypedExtensionConfigSchema, { name, typedConfig: config });
    return { name, version, body: anyPack(TypedExtensionConfigSchema, resource) };
  }

  isPending(): boolean {
    return false;
  }

  #filter(policy: ProxyPolicy, wanted: Wanted): Filter {
    const { kind, isFrugal, trustDomains } = wanted;
    if (policy.kind === 'fixed') return filterOf(kind, rulesFor(policy.verdict, policy.reason));
    const { destination, enforcement } = policy;
    const byDestination = this.#compiled.get(enforcement) ?? new WeakMap<KnownDestination, Map<string, Filter>>();
    this.#compiled.set(enforcement, byDestination);
    const filters = byDestination.get(destination) ?? new Map<string, Filter>();
    byDestination.set(destination, filters);
    const key = JSON.stringify([kind, isFrugal, trustDomains]);
    const known = filters.get(key);
    if (known !== undefined) return known;
    const made = filterOf(kind, compileRbac(inputOf(destination, enforcement, wanted)));
    filters.set(key, made);
    return made;
  }
}

type FilterKind = typeof RBAC_HTTP | typeof RBAC_NETWORK;

/** Which filter, and for whom. */
interface Wanted {
  readonly kind: FilterKind;
  readonly isFrugal: boolean;
  readonly trustDomains: TrustDomains;
}

function trustDomainsOf({ bundle, federatedBundles }: WorkloadIdentities): TrustDomains {
  return { own: bundle.trustDomain.name, federated: [...federatedBundles.keys()].sort() };
}

interface Filter {
  readonly version: string;
  readonly config: Any;
}

function inputOf(destination: KnownDestination, enforcement: Enforcement, { kind, isFrugal, trustDomains }: Wanted): RbacInput {
  return {
    view: enforcement.snapshot.viewFor(destination),
    defaultAction: enforcement.snapshot.defaultAction,
    known: enforcement,
    sees: kind === RBAC_HTTP ? 'requests' : 'connections',
    limits: isFrugal ? FRUGAL : UNLIMITED,
    trustDomains,
    tokens: tokensOf(destination, enforcement),
  };
}

function tokensOf(destination: KnownDestination, { requestAuthentications }: Enforcement): AcceptedTokens | undefined {
  const requirements = requestAuthentications.requirementsOf(destination);
  if (requirements.length === 0) return undefined;
  const headers = [...new Set(requirements.flatMap((each) => each.headers))];
  return { areRequired: requirements.some(({ tokens }) => tokens === 'Required'), headers };
}

function filterOf(kind: FilterKind, { rules, shadow }: RbacRules): Filter {
  const common = { rules, shadowRulesStatPrefix: SHADOW_PREFIX, ...(shadow === undefined ? {} : { shadowRules: shadow }) };
  const [schema, value] =
    kind === RBAC_HTTP
      ? ([HttpFilterSchema.typeName, toBinary(HttpFilterSchema, create(HttpFilterSchema, common))] as const)
      : ([
          NetworkFilterSchema.typeName,
          toBinary(NetworkFilterSchema, create(NetworkFilterSchema, { ...common, statPrefix: STAT_PREFIX })),
        ] as const);
  const version = createHash('sha256').update(value).digest('hex').slice(0, 32);
  return { version, config: create(AnySchema, { typeUrl: `type.googleapis.com/${schema}`, value }) };
}
