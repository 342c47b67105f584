import { createKubeMetrics, type KubeMetrics } from '../runtime/kubernetes/metrics.ts';
import { Counter, gaugeOf, Histogram, type Registry } from '../runtime/metrics.ts';
import { createAdmissionMetrics, type AdmissionMetrics } from './admission/admission-metrics.ts';
import type { EntryReconciler } from './entries/entry-reconciler.ts';
import type { IdentityIndex } from './identity/identity-index.ts';
import type { PolicyParts } from './policies/policy-parts.ts';
import { createPodCertificateMetrics, type PodCertificateMetrics } from './pod-certificates/pod-certificate-metrics.ts';

/** What the metrics are read from. */
export interface MetricSources {
  readonly index: Pick<IdentityIndex, 'podCount' | 'entryCount'>;
  readonly entries: Pick<EntryReconciler, 'queueLength' | 'entryCount' | 'held' | 'counts'>;
  readonly policies: Pick<PolicyParts, 'index' | 'reconciler'>;
  readonly isLeading: () => boolean;
}

/** What the parts of a controller count and time; made once, so that who leads a second time goes on counting. */
export interface ControllerMetrics {
  readonly kube: KubeMetrics;
  readonly admission: AdmissionMetrics;
  readonly podCertificates: PodCertificateMetrics;
  readonly podLatency: Histogram;
  /** Has what is read from these told whenever it is asked for; to be called once. */
  readonly watch: (sources: MetricSources) => void;
}

/** Makes every metric of a controller. */
export function createControllerMetrics(registry: Registry): ControllerMetrics {
  return {
    kube: createKubeMetrics(registry),
    admission: createAdmissionMetrics(registry),
    podCertificates: createPodCertificateMetrics(registry),
    podLatency: createPodLatencyHistogram(registry),
    watch: (sources) => registerControllerMetrics(registry, sources),
  };
}

/** The histogram of the time from a pod on its node to its entry at the CA. */
function createPodLatencyHistogram(registry: Registry): Histogram {
  return new Histogram({
    name: 'countersign_controller_pod_to_entry_seconds',
    help: 'Time from the moment when a pod is seen on a node until its first entry is at the CA, in seconds',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
    registers: [registry],
  });
}

/** Registers what is read when it is scraped. */
function registerControllerMetrics(registry: Registry, { index, entries, policies, isLeading }: MetricSources): void {
  registerPolicyMetrics(registry, policies);
  gaugeOf(
    registry,
    'countersign_controller_queue_length',
    'Entries that wait to be compared with the CA',
    () => entries.queueLength,
  );
  gaugeOf(
    registry,
    'countersign_controller_entries',
    'Entries of this controller that the CA was last known to have: its answers to writes, and a comparison every driftCheck',
    () => entries.entryCount,
  );
  gaugeOf(
    registry,
    'countersign_controller_entries_held',
    'Entries that begin with the prefix, that nothing declares, and that are so many that they are not deleted',
    () => entries.held.size,
  );
  gaugeOf(registry, 'countersign_controller_entries_desired', 'Entries that ought to be at the CA', () => index.entryCount);
  gaugeOf(registry, 'countersign_controller_pods', 'Pods that are known and have not ended', () => index.podCount);
  gaugeOf(registry, 'countersign_controller_leading', '1 while this process writes, 0 while another does', () =>
    isLeading() ? 1 : 0,
  );
  registry.registerMetric(
    new Counter({
      name: 'countersign_controller_entries_written_total',
      help: 'Entries written to the CA, by operation',
      labelNames: ['operation'],
      registers: [],
      collect() {
        this.reset();
        for (const [operation, count] of Object.entries(entries.counts)) this.inc({ operation }, count);
      },
    }),
  );
}

function registerPolicyMetrics(registry: Registry, { index, reconciler }: MetricSources['policies']): void {
  gaugeOf(
    registry,
    'countersign_controller_policies',
    'Resources of authorization of this controller that the CA was last known to have',
    () => reconciler.policyCount,
  );
  gaugeOf(
    registry,
    'countersign_controller_policies_desired',
    'Resources of authorization that ought to be at the CA',
    () => index.size,
  );
  gaugeOf(
    registry,
    'countersign_controller_policies_held',
    'Resources of authorization that nothing declares, and that are so many that they are not deleted',
    () => reconciler.held.size,
  );
  registry.registerMetric(
    new Counter({
      name: 'countersign_controller_policies_written_total',
      help: 'Resources of authorization written to the CA, by operation',
      labelNames: ['operation'],
      registers: [],
      collect() {
        this.reset();
        for (const [operation, count] of Object.entries(reconciler.counts)) this.inc({ operation }, count);
      },
    }),
  );
}
