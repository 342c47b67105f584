import { Counter, gaugeOf, type Registry as MetricsRegistry } from '../runtime/metrics.ts';
import type { CallRecording } from './calls/recording.ts';
import type { Registry } from './registry/registry.ts';

/** How much is registered, as gauges that are read when they are scraped. */
export function registerStateMetrics(metrics: MetricsRegistry, registry: Registry): void {
  const gauge = (name: string, help: string, read: () => number): void => gaugeOf(metrics, `countersign_ca_${name}`, help, read);
  gauge('entries', 'Registration entries', () => registry.entries.count());
  gauge('agents', 'Attested agents, banned ones included', () => registry.agents.count());
  gauge('federated_bundles', 'Bundles of other trust domains', () => registry.federatedBundles.count());
  gauge('registry_revision', 'Revision of the store up to which this replica has applied all changes', () => registry.revision);
}

/** What became of the calls that agents reported. */
export function registerCallMetrics(metrics: MetricsRegistry, recording: Pick<CallRecording, 'totals'>): void {
  metrics.registerMetric(
    new Counter({
      name: 'countersign_ca_reported_calls_total',
      help: 'Calls that agents reported, by what became of them',
      labelNames: ['outcome'],
      registers: [],
      collect() {
        this.reset();
        for (const [outcome, count] of Object.entries(recording.totals)) this.inc({ outcome }, count);
      },
    }),
  );
}
