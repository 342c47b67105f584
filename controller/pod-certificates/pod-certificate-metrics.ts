import { Counter, Histogram, gaugeOf, type Registry } from '../../runtime/metrics.ts';

/** Counts and times pod certificate requests. */
export interface PodCertificateMetrics {
  /** By what became of them: `issued`, or the reason of the refusal or of an attempt that failed. */
  readonly requests: Counter<'outcome'>;
  readonly seconds: Histogram;
  /** Tells how many requests wait, whenever that is asked for. */
  pending(read: () => number): void;
}

/** `countersign_pod_certificate_requests_total`, `countersign_pod_certificate_seconds` and `countersign_pod_certificates_pending`. */
export function createPodCertificateMetrics(registry: Registry): PodCertificateMetrics {
  let read = (): number => 0;
  gaugeOf(registry, 'countersign_pod_certificates_pending', 'Pod certificate requests that are not settled', () => read());
  return {
    requests: new Counter({
      name: 'countersign_pod_certificate_requests_total',
      help: 'Attempts at pod certificate requests, by outcome: issued, waiting, error, or the reason of a refusal',
      labelNames: ['outcome'],
      registers: [registry],
    }),
    seconds: new Histogram({
      name: 'countersign_pod_certificate_seconds',
      help: 'Time from when a pod certificate request was seen to its certificate, in seconds',
      buckets: [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300],
      registers: [registry],
    }),
    pending: (next) => void (read = next),
  };
}
