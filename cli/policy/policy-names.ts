import { IdentityError } from '../../core/errors.ts';
import type { PolicyName } from '../../policy/model.ts';

/** Name of a resource as the CA takes it. */
export interface ResourceName {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/**
 * Reads `AuthorizationPolicy/shop/orders` or `ClusterAuthorizationPolicy/baseline`.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseResourceName(text: string): ResourceName {
  const [kind = '', ...parts] = text.split('/');
  const [namespace, name] = parts.length === 1 ? ['', parts[0]] : parts;
  if (parts.length > 2 || namespace === undefined || name === undefined || name === '') {
    throw new IdentityError(
      'invalid_argument',
      `"${text}" must be KIND/NAMESPACE/NAME, or KIND/NAME of a ClusterAuthorizationPolicy`,
    );
  }
  return { kind, namespace, name };
}

/**
 * Reads the name of a policy.
 *
 * @throws IdentityError `invalid_argument` for a name of anything else
 */
export function parsePolicyName(text: string): PolicyName {
  const { kind, namespace, name } = parseResourceName(text);
  if (kind === 'AuthorizationPolicy' && namespace !== '') return { kind, namespace, name };
  if (kind === 'ClusterAuthorizationPolicy' && namespace === '') return { kind, namespace, name };
  throw new IdentityError(
    'invalid_argument',
    `"${text}" must be AuthorizationPolicy/NAMESPACE/NAME or ClusterAuthorizationPolicy/NAME`,
  );
}
