import { IdentityError } from '../core/errors.ts';
import type { Policy } from './policy.ts';
import { parseAuthorizationPolicy } from './resources/authorization-policy.ts';
import { parseClusterAuthorizationPolicy } from './resources/cluster-authorization-policy.ts';

/**
 * Reads a policy of either kind from what an API server, a file or a wire delivers.
 *
 * @throws DecodeError that names every faulty field; IdentityError `invalid_argument` for another kind
 * @example
 * const policy = parsePolicy(parseYaml(text));
 */
export function parsePolicy(object: unknown): Policy {
  // The cast is sound: whatever has no kind has none that is known.
  const { kind } = (object ?? {}) as { kind?: unknown };
  if (kind === 'AuthorizationPolicy') return parseAuthorizationPolicy(object);
  if (kind === 'ClusterAuthorizationPolicy') return parseClusterAuthorizationPolicy(object);
  throw new IdentityError('invalid_argument', 'must be AuthorizationPolicy or ClusterAuthorizationPolicy', { field: 'kind' });
}
