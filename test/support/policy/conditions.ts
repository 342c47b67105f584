// Conditions in CEL, each beside what it means, so that the naive evaluator needs no CEL.
import type { Call, CallField } from '../../../policy/model.ts';

/** What a condition reads and means; undefined where it fails. */
export interface NaiveCondition {
  readonly fields: readonly CallField[];
  readonly holds: (call: Call) => boolean | undefined;
}

const roles = (call: Call): readonly unknown[] | undefined => {
  const value = call.user?.claims['roles'];
  if (Array.isArray(value)) return value;
  // CEL loops over the keys of a map.
  return typeof value === 'object' && value !== null ? Object.keys(value) : undefined;
};

/** The conditions that random policies have. */
export const CONDITIONS: ReadonlyMap<string, NaiveCondition> = new Map<string, NaiveCondition>([
  [
    'request.headers["x-tenant"] == "acme"',
    {
      fields: ['request.headers'],
      holds: ({ request }) =>
        request?.headers.has('x-tenant') === true ? request.headers.get('x-tenant') === 'acme' : undefined,
    },
  ],
  ['"x-debug" in request.headers', { fields: ['request.headers'], holds: ({ request }) => request?.headers.has('x-debug') }],
  [
    'has(request.grpc) && request.grpc.method == "Get"',
    { fields: ['request.grpc'], holds: ({ request }) => request?.grpc?.method === 'Get' },
  ],
  ['request.path.matches("^/orders")', { fields: ['request.path'], holds: ({ request }) => request?.path.startsWith('/orders') }],
  [
    'has(source.namespace) && source.namespace == "shop"',
    { fields: ['source.workload'], holds: ({ source }) => source.namespace === 'shop' },
  ],
  ['destination.port == 443', { fields: ['destination.port'], holds: ({ destination }) => destination.port === 443 }],
  ['user.claims.roles.exists(role, role == "admin")', { fields: ['user'], holds: (call) => roles(call)?.includes('admin') }],
  [
    'source.trustDomain == "example.org"',
    {
      fields: ['source.spiffeId'],
      holds: ({ source }) => (source.spiffeId === undefined ? undefined : source.spiffeId.trustDomain.name === 'example.org'),
    },
  ],
]);
