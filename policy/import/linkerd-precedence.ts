// Of the routes of a Server, the one that matches most exactly decides alone (Gateway API, HTTPRouteRule `matches`).
import { isDeepStrictEqual } from 'node:util';

interface PathMatch {
  readonly exact?: string;
  readonly prefix?: string;
  readonly regex?: string;
}

/** An operation of ours: of each list one value must hold, of headers all. */
export interface RouteOperation {
  readonly hosts?: readonly string[];
  readonly paths?: readonly PathMatch[];
  readonly methods?: readonly string[];
  readonly grpc?: readonly { readonly service: string; readonly method?: string }[];
  readonly headers?: readonly object[];
}

/** One match of a route. */
export interface RouteMatch {
  /** All requests that it is about; more where `isSaid` is false. */
  readonly operation: RouteOperation;
  readonly isSaid: boolean;
}

type Field = keyof RouteOperation;

/** What remains of an operation; undefined: nothing that can be said. */
export type Remainder = { readonly operation: RouteOperation & { readonly not?: object }; readonly isExact: boolean } | undefined;

/** An operation without the requests for which a match of another route may decide. More than those are left out where it must be. */
export function withoutOthers(operation: RouteOperation, others: readonly RouteMatch[]): Remainder {
  const not = new Map<Field, Set<unknown>>();
  let isExact = true;
  for (const other of others.filter((each) => mayDecide(each, operation))) {
    const [field, ...more] = distinctions(operation, other.operation);
    if (field === undefined) return undefined;
    not.set(field, new Set([...(not.get(field) ?? []), ...(other.operation[field] ?? [])]));
    const isOneValue = field !== 'headers' || other.operation.headers?.length === 1;
    isExact &&= other.isSaid && more.length === 0 && isOneValue;
  }
  if (not.size === 0) return { operation, isExact };
  const excluded = Object.fromEntries([...not].map(([field, values]) => [field, [...values]]));
  return { operation: { ...operation, not: excluded }, isExact };
}

/** Fields that tell requests of the other from those that remain. */
function distinctions(operation: RouteOperation, other: RouteOperation): readonly Field[] {
  const fields: readonly Field[] = ['grpc', 'paths', 'methods', 'headers', 'hosts'];
  return fields.filter(
    (field) => other[field] !== undefined && !isAny(other[field]) && !isDeepStrictEqual(other[field], operation[field]),
  );
}

function isAny(values: readonly unknown[]): boolean {
  return ANYTHING.some((each) => isDeepStrictEqual(values, each));
}

const ANYTHING = [[{ prefix: '/' }], [{ service: '*' }], ['*'], []];

/** Whether requests may match both, and the other is not certainly the less exact one. */
function mayDecide({ operation: other, isSaid }: RouteMatch, operation: RouteOperation): boolean {
  if (areApart(other.methods, operation.methods)) return false;
  const targets = compared(other, operation);
  if (targets === 'apart') return false;
  // A route that names hosts comes before one that names none.
  if (!isSaid || targets === 'unclear' || !isDeepStrictEqual(other.hosts, operation.hosts)) return true;
  if (targets === 'wider') return false;
  const [methods, headers] = [
    amountOf(operation, 'methods') - amountOf(other, 'methods'),
    amountOf(operation, 'headers') - amountOf(other, 'headers'),
  ];
  return !(methods >= 0 && headers >= 0 && methods + headers > 0);
}

function amountOf(operation: RouteOperation, field: 'methods' | 'headers'): number {
  return operation[field]?.length ?? 0;
}

function areApart(some: readonly string[] | undefined, others: readonly string[] | undefined): boolean {
  return some !== undefined && others !== undefined && !some.some((each) => others.includes(each));
}

/** What the other is about, beside the operation. */
function compared(other: RouteOperation, operation: RouteOperation): 'apart' | 'same' | 'wider' | 'unclear' {
  const [call] = operation.grpc ?? [];
  const [otherCall] = other.grpc ?? [];
  if (call !== undefined && otherCall !== undefined) return comparedCalls(otherCall, call);
  const [path] = operation.paths ?? [];
  const [otherPath] = other.paths ?? [];
  return path === undefined || otherPath === undefined ? 'unclear' : comparedPaths(otherPath, path);
}

type Call = NonNullable<RouteOperation['grpc']>[number];

function comparedCalls(other: Call, call: Call): ReturnType<typeof compared> {
  if (isDeepStrictEqual(other, call)) return 'same';
  const differs = (one: string | undefined, two: string | undefined): boolean =>
    ![one, two].some((each) => each === undefined || each === '*') && one !== two;
  if (differs(other.service, call.service) || differs(other.method, call.method)) return 'apart';
  const isAll = other.service === '*' && other.method === undefined;
  return isAll || (other.service === call.service && other.method === undefined) ? 'wider' : 'unclear';
}

function comparedPaths(other: PathMatch, path: PathMatch): ReturnType<typeof compared> {
  if (isDeepStrictEqual(other, path)) return 'same';
  if (other.regex !== undefined || path.regex !== undefined) return 'unclear';
  if (other.exact !== undefined) {
    const isAmong = path.exact === undefined && isBelow(other.exact, path.prefix ?? '/');
    return isAmong ? 'unclear' : 'apart';
  }
  const prefix = other.prefix ?? '/';
  if (isBelow(path.exact ?? path.prefix ?? '/', prefix)) return 'wider';
  return path.prefix !== undefined && isBelow(prefix, path.prefix) ? 'unclear' : 'apart';
}

function isBelow(path: string, prefix: string): boolean {
  return prefix === '/' || path === prefix || path.startsWith(`${prefix}/`);
}
