import type { World } from '../../../policy/compile/view.ts';
import { all, any, type Condition, principal } from './condition.ts';

/** Trust domains whose certificates a workload accepts, by name. */
export interface TrustDomains {
  readonly own: string;
  /** Those whose bundles it is given. */
  readonly federated: readonly string[];
}

/**
 * Whether the caller's certificate names somebody of a federated trust domain, and somebody of another one. Envoy verifies a
 * certificate by the first name in it and lets rules match any: a federated authority could so vouch for IDs of every other trust
 * domain (SPIFFE X509-SVID §2 allows one name).
 */
export function isOfTwoDomains({ own, federated }: TrustDomains, world: World): Condition {
  const foreign = [...federated].sort();
  const domains = new Set([own, ...foreign, ...domainsIn(world)]);
  return any(
    ...foreign.map((one) => all(isOf(one), any(...[...domains].filter((other) => other !== one).map((other) => isOf(other))))),
  );
}

/** Trust domains that rules speak of, by name. One that a wildcard stands for could be the caller's own as well. */
function domainsIn({ allow, deny }: World): string[] {
  const clauses = [...allow.rules, ...deny.rules].flatMap(({ spec }) => spec.from ?? []);
  const fields = clauses.flatMap(({ not, ...clause }) => (not === undefined ? [clause] : [clause, not]));
  const ofIds = fields.flatMap(({ spiffeIDs = [] }) =>
    spiffeIDs.map((id) => id.slice('spiffe://'.length).split('/', 1)[0] ?? ''),
  );
  const names = [...ofIds, ...fields.flatMap(({ trustDomains = [] }) => trustDomains)];
  return [...new Set(names.filter((name) => !name.includes('*')))].sort();
}

function isOf(trustDomain: string): Condition {
  const id = `spiffe://${trustDomain}`;
  return any(principal({ exact: id }), principal({ prefix: `${id}/` }));
}
