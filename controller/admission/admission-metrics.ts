import { Counter, Histogram, type Registry } from '../../runtime/metrics.ts';

/** What became of a review. */
export type Verdict = 'allowed' | 'refused' | 'unreadable' | 'error' | 'overloaded';

/** Counts and times reviews. */
export interface AdmissionMetrics {
  readonly reviews: Counter<'kind' | 'verdict'>;
  readonly seconds: Histogram<'kind'>;
}

/** `countersign_admission_reviews_total` and `countersign_admission_seconds`. */
export function createAdmissionMetrics(registry: Registry): AdmissionMetrics {
  return {
    reviews: new Counter({
      name: 'countersign_admission_reviews_total',
      help: 'Objects that were judged before being stored, by kind and verdict',
      labelNames: ['kind', 'verdict'],
      registers: [registry],
    }),
    seconds: new Histogram({
      name: 'countersign_admission_seconds',
      help: 'Time from the whole question of the API server to the answer, in seconds',
      labelNames: ['kind'],
      buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers: [registry],
    }),
  };
}
