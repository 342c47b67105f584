import { inferTemplate } from './path-inference.ts';
import type { Call, Destination } from './model.ts';
import type { RecordedCall } from './simulate.ts';

/** A resource as it is written to a file. */
export type SuggestedPolicy = Readonly<Record<string, unknown>>;

/** Policies, and what they do not cover. */
export interface Suggestion {
  readonly policies: readonly SuggestedPolicy[];
  /** Calls of callers without an identity, to destinations without a name, or whose method or path was not recorded: no narrow policy names them. */
  readonly left: readonly RecordedCall[];
}

/**
 * The narrowest policies that allow the recorded calls: one for each destination, its callers by their exact SPIFFE IDs, its paths as they were
 * recorded with segments that look like identifiers as variables. Calls that were denied are left out.
 *
 * @example
 * const { policies } = suggest(calls); // [{ kind: 'AuthorizationPolicy', … }]
 */
export function suggest(calls: Iterable<RecordedCall>): Suggestion {
  const wanted = [...calls].filter(({ observed }) => observed !== 'deny');
  const groups = Map.groupBy(wanted, ({ call }) => (isNamed(call) ? targetKey(call.destination) : ''));
  const left = groups.get('') ?? [];
  groups.delete('');
  const entries = [...groups].sort(([one], [other]) => (one < other ? -1 : 1));
  return { policies: entries.flatMap(([, recorded]) => policyOf(recorded.map(({ call }) => call))), left };
}

function isNamed({ source, refused, unrecorded }: Call): boolean {
  const isKnown = unrecorded?.has('request.path') !== true && unrecorded?.has('request.method') !== true;
  return refused === undefined && source.spiffeId !== undefined && isKnown;
}

function targetKey({ namespace, serviceAccount, spiffeId }: Destination): string {
  if (namespace !== undefined && serviceAccount !== undefined) return `${namespace}/${serviceAccount}`;
  return spiffeId?.toString() ?? '';
}

function policyOf(calls: readonly Call[]): SuggestedPolicy[] {
  const [first] = calls;
  if (first === undefined) return [];
  const { namespace, serviceAccount, spiffeId } = first.destination;
  const rules = rulesOf(calls);
  const shared = { apiVersion: 'countersign.dev/v1alpha1' };
  if (namespace !== undefined && serviceAccount !== undefined) {
    const spec = { targetRefs: [{ kind: 'ServiceAccount', name: serviceAccount }], action: 'ALLOW', rules };
    return [{ ...shared, kind: 'AuthorizationPolicy', metadata: { name: `${serviceAccount}-callers`, namespace }, spec }];
  }
  const name = `${(spiffeId?.path ?? '').slice(1).replaceAll(/[^a-z0-9]+/g, '-')}-callers`;
  return [
    {
      ...shared,
      kind: 'ClusterAuthorizationPolicy',
      metadata: { name },
      spec: { spiffeIDs: [spiffeId?.toString()], action: 'ALLOW', rules },
    },
  ];
}

/** One rule for all callers that do the same, in an order that stays. */
function rulesOf(calls: readonly Call[]): object[] {
  const byCaller = Map.groupBy(calls, ({ source }) => source.spiffeId?.toString() ?? '');
  const operations = [...byCaller]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([caller, own]) => ({ caller, to: operationsOf(own) }));
  const bySame = Map.groupBy(operations, ({ to }) => JSON.stringify(to));
  return [...bySame.values()].map((group) => ({
    from: [{ spiffeIDs: group.map(({ caller }) => caller) }],
    ...(group[0]?.to.length === 0 ? {} : { to: group[0]?.to }),
  }));
}

/** Paths that are called with the same methods stand together; connections by their ports. */
function operationsOf(calls: readonly Call[]): object[] {
  const methodsOf = new Map<string, Set<string>>();
  const ports = new Set<string>();
  for (const { request, destination } of calls) {
    if (request === undefined) ports.add(String(destination.port ?? ''));
    else {
      const path = JSON.stringify(inferTemplate(request.path));
      methodsOf.set(path, (methodsOf.get(path) ?? new Set()).add(request.method));
    }
  }
  const groups = Map.groupBy(methodsOf, ([, methods]) => [...methods].sort().join(' '));
  const ofRequests = [...groups]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([methods, paths]) => ({
      methods: methods.split(' '),
      paths: paths.map(([path]): unknown => JSON.parse(path)).sort(byText),
    }));
  // A connection whose port is not known can be named by its caller only.
  return ports.size === 0 || ports.has('') ? ofRequests : [...ofRequests, { ports: [...ports].sort() }];
}

function byText(one: unknown, other: unknown): number {
  return JSON.stringify(one) < JSON.stringify(other) ? -1 : 1;
}
