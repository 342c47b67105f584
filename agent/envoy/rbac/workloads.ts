import type { WorkloadMetadata } from '../../../policy/workload-metadata.ts';
import { anyCaller } from './callers.ts';
import { type Condition, principal } from './condition.ts';
import type { ExpressionLimits } from './path-conditions.ts';

/** What is known of the workloads that may call. */
export interface KnownWorkloads {
  /** By SPIFFE ID. */
  readonly workloads: ReadonlyMap<string, WorkloadMetadata>;
  /** SPIFFE IDs whose metadata could not be read. */
  readonly unreadableWorkloads: ReadonlySet<string>;
}

/** Callers by what their registrations say: Envoy knows SPIFFE IDs only. */
export class Workloads {
  readonly #known: KnownWorkloads;
  readonly #limits: Pick<ExpressionLimits, 'maxCost'>;

  constructor(known: KnownWorkloads, limits: Pick<ExpressionLimits, 'maxCost'>) {
    this.#known = known;
    this.#limits = limits;
  }

  /** The caller is one of those of which this holds. */
  where(test: (metadata: WorkloadMetadata) => boolean): Condition {
    return this.#oneOf([...this.#known.workloads].filter(([, metadata]) => test(metadata)).map(([id]) => id));
  }

  /** What the registration of the caller says could not be read. */
  get unreadable(): Condition {
    return this.#oneOf([...this.#known.unreadableWorkloads]);
  }

  #oneOf(ids: readonly string[]): Condition {
    return anyCaller(
      ids.map((exact) => principal({ exact })),
      this.#limits,
    );
  }
}
