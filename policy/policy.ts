import type { PolicyName } from './model.ts';
import type { RuleSpec } from './resources/policy-spec.ts';
import type { LabelSelector } from './schema/label-selector.ts';
import type { ResourceMeta } from './schema/resource-meta.ts';

/** A policy of either kind, as it was read. */
export interface Policy {
  readonly name: PolicyName;
  readonly meta: ResourceMeta;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  readonly mode: 'Enforce' | 'DryRun';
  readonly failureMode: 'Closed' | 'Open';
  readonly rules: readonly RuleSpec[];
  readonly selector: LabelSelector | undefined;
  readonly attested: readonly string[] | undefined;
  /** Of an AuthorizationPolicy. */
  readonly targetRefs: readonly { readonly kind: 'ServiceAccount'; readonly name: string }[] | undefined;
  /** Of a ClusterAuthorizationPolicy. */
  readonly namespaceSelector: LabelSelector | undefined;
  readonly spiffeIDs: readonly string[] | undefined;
  /** Names of the namespaces that `namespaceSelector` selects, found by whoever knows their labels. */
  readonly namespaces?: readonly string[];
}

/** One text for each policy: `AuthorizationPolicy/shop/orders`, `ClusterAuthorizationPolicy//baseline`. */
export function policyKey({ kind, namespace, name }: PolicyName): string {
  return `${kind}/${namespace}/${name}`;
}
