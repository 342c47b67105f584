import type { WorkloadMetadata } from '../../../policy/workload-metadata.ts';
import { all, any, type Condition, principal } from './condition.ts';

/** What is known of the workloads that may call. */
export interface KnownWorkloads {
  /** By SPIFFE ID. */
  readonly workloads: ReadonlyMap<string, WorkloadMetadata>;
  /** SPIFFE IDs whose metadata could not be read. */
  readonly unreadableWorkloads: ReadonlySet<string>;
}

// So many are compared one by one before it pays to look at what they begin with.
const FEW = 8;

/** Callers by what their registrations say: Envoy knows SPIFFE IDs only. */
export class Workloads {
  readonly #known: KnownWorkloads;

  constructor(known: KnownWorkloads) {
    this.#known = known;
  }

  /** The caller is one of those of which this holds. */
  where(test: (metadata: WorkloadMetadata) => boolean): Condition {
    return oneOf([...this.#known.workloads].filter(([, metadata]) => test(metadata)).map(([id]) => id));
  }

  /** What the registration of the caller says could not be read. */
  get unreadable(): Condition {
    return oneOf([...this.#known.unreadableWorkloads]);
  }
}

/** The caller has one of these IDs. Many of them are told apart segment by segment. */
export function oneOf(ids: readonly string[]): Condition {
  return grouped([...new Set(ids)].sort(), 'spiffe://'.length);
}

function grouped(ids: readonly string[], from: number): Condition {
  if (ids.length <= FEW) return any(...ids.map((exact) => principal({ exact })));
  const groups = new Map<string, string[]>();
  const ended: string[] = [];
  for (const id of ids) {
    const slash = id.indexOf('/', from);
    const prefix = id.slice(0, slash + 1);
    if (slash === -1) ended.push(id);
    else groups.set(prefix, [...(groups.get(prefix) ?? []), id]);
  }
  const below = [...groups].map(([prefix, members]) => {
    const inner = grouped(members, prefix.length);
    return members.length === 1 ? inner : all(principal({ prefix }), inner);
  });
  return any(...ended.map((exact) => principal({ exact })), ...below);
}
