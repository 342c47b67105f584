import type { CallKind, CountedKind, SeenCalls } from '../../ca/calls/call-kind.ts';

/** A kind of call from `web` to `orders`, changed as asked. */
export function callKind(change: Partial<CallKind> & { readonly path?: string; readonly to?: string } = {}): CallKind {
  const { path = '/orders/{id}', to = 'orders', ...rest } = change;
  return {
    source: 'spiffe://example.org/ns/shop/sa/web',
    destination: {
      spiffeId: `spiffe://example.org/ns/shop/sa/${to}`,
      namespace: 'shop',
      serviceAccount: to,
      port: 8443,
      selectors: [`k8s:pod-label:app:${to}`],
    },
    request: { method: 'GET', host: 'orders', path, grpcService: '', grpcMethod: '' },
    verdict: 'allow',
    reason: 'default_audit',
    wouldDeny: false,
    point: 'ext_authz',
    ...rest,
  };
}

/** Such calls as a report has them. */
export function seen(kind: CallKind, count: number, lastSeenAtMs: number): SeenCalls {
  return { kind, count, lastSeenAtMs, source: { namespace: 'shop', serviceAccount: 'web' }, wouldDenyPolicies: [] };
}

/** Path and count of each kind, in order of the paths. */
export function pathsAndCounts(kinds: readonly CountedKind[]): readonly (readonly [string | undefined, number])[] {
  return kinds.map(({ kind, count }) => [kind.request?.path, count] as const).sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
}
