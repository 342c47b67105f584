import { POLICY_DEFINITIONS } from '../../crds/index.ts';
import { IdentityError } from '../../core/errors.ts';
import type { PolicyName } from '../../policy/model.ts';

/** Name of a resource as the CA takes it. */
export interface ResourceName {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

const KINDS = POLICY_DEFINITIONS.map(({ type }) => type.kind);

/**
 * Reads `AuthorizationPolicy/shop/orders` or `ClusterAuthorizationPolicy/baseline`.
 *
 * @param kinds those that may be named
 * @throws IdentityError `invalid_argument` that says how a name is written
 */
export function parseResourceName(text: string, kinds: readonly string[] = KINDS): ResourceName {
  const [kind = '', ...parts] = text.split('/');
  const isOfCluster = kind === 'ClusterAuthorizationPolicy';
  const [namespace = '', name = ''] = isOfCluster ? ['', ...parts] : parts;
  const isWhole = parts.length === (isOfCluster ? 1 : 2) && name !== '' && (isOfCluster || namespace !== '');
  if (isWhole && kinds.includes(kind)) return { kind, namespace, name };
  throw new IdentityError('invalid_argument', `"${text}" must be written ${kinds.map(formOf).join(' or ')}`);
}

function formOf(kind: string): string {
  return kind === 'ClusterAuthorizationPolicy' ? `${kind}/NAME` : `${kind}/NAMESPACE/NAME`;
}

const POLICY_KINDS = ['AuthorizationPolicy', 'ClusterAuthorizationPolicy'] as const;

/**
 * Reads the name of a policy.
 *
 * @throws IdentityError `invalid_argument` for a name of anything else
 */
export function parsePolicyName(text: string): PolicyName {
  const { kind, namespace, name } = parseResourceName(text, POLICY_KINDS);
  return { kind: kind === 'AuthorizationPolicy' ? kind : 'ClusterAuthorizationPolicy', namespace, name };
}
