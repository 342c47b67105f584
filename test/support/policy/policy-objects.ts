/** An AuthorizationPolicy in namespace `shop`, or the one that the name begins with (`billing/a`). */
export function authz(name: string, spec: object): object {
  const [own = '', namespace = 'shop'] = name.split('/').toReversed();
  return { apiVersion: 'countersign.dev/v1alpha1', kind: 'AuthorizationPolicy', metadata: { name: own, namespace }, spec };
}

/** A ClusterAuthorizationPolicy. */
export function cluster(name: string, spec: object): object {
  return { apiVersion: 'countersign.dev/v1alpha1', kind: 'ClusterAuthorizationPolicy', metadata: { name }, spec };
}

const toOrders = { selector: { matchLabels: { app: 'orders' } } };

/** An AuthorizationPolicy about the pods of `orders`. */
export function orders(name: string, spec: object): object {
  return authz(name, { ...toOrders, ...spec });
}
