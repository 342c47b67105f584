import type { PolicyName } from '../../policy/model.ts';
import type { Policy } from '../../policy/policy.ts';
import type { AuthorizationSettings } from './policy-update.ts';

/** The parts of a resource's name, `<kind>/<namespace>/<name>`; what has another form has no namespace. */
export function partsOfName(text: string): { readonly kind: string; readonly namespace: string; readonly name: string } {
  const [kind = '', namespace = '', name = '', ...more] = text.split('/');
  return more.length > 0 || name === '' ? { kind: '', namespace: '', name: text } : { kind, namespace, name };
}

/**
 * What a resource is called in the snapshot: a policy by its own name, anything else, while it cannot be read, by one that no
 * policy can have.
 */
export function policyNameOf(resourceName: string): PolicyName {
  const { kind, namespace, name } = partsOfName(resourceName);
  const isNamespaced = namespace !== '';
  if (kind === 'AuthorizationPolicy' && isNamespaced) return { kind, namespace, name };
  if (kind === 'ClusterAuthorizationPolicy' && !isNamespaced) return { kind, namespace, name };
  return {
    kind: isNamespaced ? 'AuthorizationPolicy' : 'ClusterAuthorizationPolicy',
    namespace,
    name: `unreadable:${resourceName}`,
  };
}

/** Stands for a resource that cannot be read: denies everything that it may concern. */
export function closedPolicy(resourceName: string): Policy {
  const name = policyNameOf(resourceName);
  const { namespace, name: text } = name;
  return {
    name,
    meta: { name: text, namespace, uid: '', generation: 0, createdAtMs: 0, deleting: false, labels: {}, annotations: {} },
    action: 'DENY',
    mode: 'Enforce',
    failureMode: 'Closed',
    rules: [{ from: undefined, to: undefined, when: undefined, relations: undefined }],
    selector: undefined,
    attested: undefined,
    targetRefs: undefined,
    namespaceSelector: undefined,
    spiffeIDs: undefined,
  };
}

/** Stand for settings that cannot be read. */
export const CLOSED_SETTINGS: AuthorizationSettings = {
  defaultAction: 'deny',
  exchangeIssuer: undefined,
  exchangeJwksUri: undefined,
};
