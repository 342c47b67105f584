// Rules that allow recorded calls to one destination and nothing else, each as small as a policy takes it.
import { inferTemplate } from './path-inference.ts';
import type { Call } from './model.ts';
import type { RecordedCall } from './simulate.ts';

/** A rule as it is written to a file. */
export interface SuggestedRule {
  readonly from: readonly { readonly spiffeIDs: readonly string[] }[];
  readonly to?: readonly Readonly<Record<string, readonly unknown[]>>[];
}

/** What is asked for: each list that is not empty restricts. Paths are JSON, so that they can be compared. */
interface Operation {
  readonly ports: readonly string[];
  readonly hosts: readonly string[];
  readonly methods: readonly string[];
  readonly paths: readonly string[];
}

const FIELDS = ['methods', 'paths', 'hosts', 'ports'] as const;
const MOST_VALUES = 64;
const MOST_CLAUSES = 16;
/** Half of a rule. The CA takes policies of 512 thousand characters. */
const MOST_CHARACTERS = 200_000;

/** Whether a rule can say what such a call asks for. */
export function isSayable({ source, refused, request, unrecorded }: Call): boolean {
  if (refused !== undefined || source.spiffeId === undefined) return false;
  if (request === undefined) return true;
  const isKnown = unrecorded?.has('request.path') !== true && unrecorded?.has('request.method') !== true;
  return isKnown && inferTemplate(request.path) !== undefined;
}

/** Rules, and calls that cannot be said beside them. */
export interface SuggestedRules {
  readonly rules: readonly SuggestedRule[];
  readonly left: readonly RecordedCall[];
}

/** One rule for all callers that do the same, in an order that stays; more where there is too much for one. */
export function rulesFor(calls: readonly RecordedCall[]): SuggestedRules {
  const byCaller = Map.groupBy(calls, ({ call }) => call.source.spiffeId?.toString() ?? '');
  const left: RecordedCall[] = [];
  const own = [...byCaller].sort(byKey).map(([caller, made]) => ({ caller, to: operationsOf(made, left) }));
  const groups = Map.groupBy(own, ({ to }) => JSON.stringify(to));
  const rules = [...groups.values()].flatMap((group) => {
    const callers = group.map(({ caller }) => caller);
    const from = inParts(callers, MOST_VALUES).map((spiffeIDs) => ({ spiffeIDs }));
    const to = (group[0]?.to ?? []).flatMap(clausesOf);
    const tos = to.length === 0 ? [undefined] : inParts(to, MOST_CLAUSES);
    return inParts(from, MOST_CLAUSES).flatMap((some) => tos.map((part) => ({ from: some, ...(part && { to: part }) })));
  });
  return { rules, left };
}

/** Nothing for connections of which only the caller is known: then all is allowed to that one. */
function operationsOf(calls: readonly RecordedCall[], left: RecordedCall[]): readonly Operation[] {
  const connections = Map.groupBy(
    calls.filter(({ call }) => call.request === undefined),
    ({ call }) => (call.destination.port === undefined ? 'bare' : 'ported'),
  );
  const named = [...calls.filter(({ call }) => call.request !== undefined), ...(connections.get('ported') ?? [])];
  // Beside requests, to say nothing of what is asked for would allow more than these.
  if (named.length > 0) left.push(...(connections.get('bare') ?? []));
  let operations = withoutCovered(named.map(({ call }) => operationOf(call)));
  for (const field of FIELDS) operations = together(operations, field);
  return operations.sort((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));
}

function operationOf({ request, destination: { port }, unrecorded }: Call): Operation {
  const ports = port === undefined ? [] : [String(port)];
  if (request === undefined) return { ports, hosts: [], methods: [], paths: [] };
  const isHostKnown = request.host !== '' && unrecorded?.has('request.host') !== true;
  const paths = [JSON.stringify(inferTemplate(request.path))];
  return { ports, hosts: isHostKnown ? [request.host] : [], methods: [request.method], paths };
}

/** Without what others allow that say nothing of the host or the port. */
function withoutCovered(operations: readonly Operation[]): Operation[] {
  const all = new Map(operations.map((each) => [JSON.stringify(each), each]));
  const isThere = (each: Operation): boolean => all.has(JSON.stringify(each));
  return [...all.values()].filter((each) => {
    const wider = [
      ...(each.hosts.length === 0 ? [] : [{ ...each, hosts: [] }]),
      ...(each.ports.length === 0 || each.methods.length === 0 ? [] : [{ ...each, ports: [] }]),
      ...(each.hosts.length === 0 || each.ports.length === 0 ? [] : [{ ...each, hosts: [], ports: [] }]),
    ];
    return !wider.some(isThere);
  });
}

/** Operations that differ in one field only are one: it stands for no other combination. */
function together(operations: readonly Operation[], field: (typeof FIELDS)[number]): Operation[] {
  const groups = Map.groupBy(operations, (each) => JSON.stringify({ ...each, [field]: each[field].length }, keepsEmpty(field)));
  return [...groups.values()].flatMap(([first, ...rest]) =>
    first === undefined ? [] : [{ ...first, [field]: [...new Set([first, ...rest].flatMap((each) => each[field]))].sort() }],
  );
}

/** Whether a list restricts is what counts of it, not how long it is. */
function keepsEmpty(field: string): (key: string, value: unknown) => unknown {
  return (key, value) => (key === field ? value === 0 : value);
}

type Clause = Readonly<Record<string, readonly unknown[]>>;

/** An operation as clauses whose lists are not too long. */
function clausesOf({ ports, hosts, methods, paths }: Operation): readonly Clause[] {
  const lists: readonly (readonly [string, readonly unknown[]])[] = [
    ['ports', ports],
    ['hosts', hosts],
    ['methods', methods],
    ['paths', paths.map((path): unknown => JSON.parse(path))],
  ];
  return lists
    .filter(([, list]) => list.length > 0)
    .reduce<readonly Clause[]>(
      (clauses, [name, list]) =>
        clauses.flatMap((clause) => inParts(list, MOST_VALUES).map((part) => ({ ...clause, [name]: part }))),
      [{}],
    );
}

/** A list as lists of so many items, and of not too many characters. */
export function inParts<T>(items: readonly T[], most: number, mostCharacters = MOST_CHARACTERS): readonly (readonly T[])[] {
  const parts: T[][] = [];
  let room = 0;
  for (const item of items) {
    const size = JSON.stringify(item).length;
    const last = parts.at(-1);
    if (last === undefined || last.length >= most || room < size) {
      parts.push([item]);
      room = mostCharacters - size;
    } else {
      last.push(item);
      room -= size;
    }
  }
  return parts;
}

function byKey([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}
