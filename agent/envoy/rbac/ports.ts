import { all, any, type Condition, HAS_PORT, not } from './condition.ts';

/** Calls to some ports, and what a condition comes to for them. */
export interface PortRegion {
  /** About ports alone. */
  readonly ports: Condition;
  /** About anything but ports. */
  readonly rest: Condition;
}

interface Span {
  readonly first: number;
  readonly last: number;
}

/**
 * A condition in parts, each for some ports. Principals cannot say anything about ports, and permissions nothing about the caller,
 * so that a condition over both has to be taken apart. Calls without a port, over unix sockets, are a part of their own.
 */
export function byPorts(condition: Condition): readonly PortRegion[] {
  const bounds = new Set<number>();
  collectBounds(condition, bounds);
  if (bounds.size === 0) return [{ ports: { kind: 'constant', holds: true }, rest: condition }];
  const regions = new Map<string, { spans: (Span | undefined)[]; rest: Condition }>();
  for (const span of [...spansOf(bounds), undefined]) {
    const rest = withPort(condition, span?.first);
    const key = JSON.stringify(rest);
    const known = regions.get(key);
    if (known === undefined) regions.set(key, { spans: [span], rest });
    else known.spans.push(span);
  }
  return [...regions.values()].map(({ spans, rest }) => ({ ports: any(...spans.map(spanCondition)), rest }));
}

function spanCondition(span: Span | undefined): Condition {
  return span === undefined ? not(HAS_PORT) : { kind: 'port', ...span };
}

/** The places where the truth of the condition can change: the first port of each range, and the one after its last. */
function collectBounds(condition: Condition, bounds: Set<number>): void {
  if (condition.kind === 'port') bounds.add(condition.first).add(condition.last + 1);
  else if (condition.kind === 'not') collectBounds(condition.of, bounds);
  else if (condition.kind === 'all' || condition.kind === 'any') for (const each of condition.of) collectBounds(each, bounds);
}

function spansOf(bounds: ReadonlySet<number>): Span[] {
  const starts = [...new Set([0, ...bounds])].filter((start) => start <= 65_535).sort((one, other) => one - other);
  return starts.map((first, index) => ({ first, last: (starts[index + 1] ?? 65_536) - 1 }));
}

/** What the condition comes to for calls to a port; undefined for calls without one. */
function withPort(condition: Condition, port: number | undefined): Condition {
  switch (condition.kind) {
    case 'port':
      return { kind: 'constant', holds: port !== undefined && port >= condition.first && port <= condition.last };
    case 'not':
      return not(withPort(condition.of, port));
    case 'all':
      return all(...condition.of.map((each) => withPort(each, port)));
    case 'any':
      return any(...condition.of.map((each) => withPort(each, port)));
    default:
      return condition;
  }
}
