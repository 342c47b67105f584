import type { RuleReference } from '../../policy/model.ts';

/** What an RBAC filter of ours calls what it denies: a rule, or a reason code. */
export type DeniedBy = { readonly rule: RuleReference } | { readonly reason: string };

const RULE = /^(AuthorizationPolicy|ClusterAuthorizationPolicy)\/([a-z0-9.-]*)\/([a-z0-9.-]+)#(\d{1,4})$/;
// No others, so that names of a configuration that is not ours do not become reasons.
const REASON =
  /^(no_rule_matches|default_deny|user_unseen|policy_missing|policy_stale|no_identity|ambiguous_identity|(?:path|host|headers?|method)_[a-z_]{1,40})(?:~\d+)?$/;

/** Reads the name of a denial, such as `AuthorizationPolicy/shop/no-delete#0` or `no_rule_matches`; undefined for one that is not ours. */
export function readDenial(name: string): DeniedBy | undefined {
  const [, kind, namespace = '', policy = '', rule] = RULE.exec(name) ?? [];
  if (kind === 'AuthorizationPolicy' || kind === 'ClusterAuthorizationPolicy')
    return { rule: { policy: { kind, namespace, name: policy }, rule: Number(rule) } };
  const [, reason] = REASON.exec(name) ?? [];
  return reason === undefined ? undefined : { reason };
}
