import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

export { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** The metrics of one process. Each component registers its own on it; there is no global registry. */
export function createMetrics(): Registry {
  const registry = new Registry();
  // The event loop's delay is sampled by a timer; at the usual 10 ms that alone is half a percent of a core, idle.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 1000 });
  return registry;
}

/** The two metrics that every gRPC server keeps. */
export interface RpcMetrics {
  readonly handled: Counter<'method' | 'code'>;
  readonly seconds: Histogram<'method'>;
}

/** Counts and times RPCs as `countersign_rpc_handled_total` and `countersign_rpc_seconds`. */
export function createRpcMetrics(registry: Registry): RpcMetrics {
  return {
    handled: new Counter({
      name: 'countersign_rpc_handled_total',
      help: 'RPCs that ended, by method and gRPC status code',
      labelNames: ['method', 'code'],
      registers: [registry],
    }),
    seconds: new Histogram({
      name: 'countersign_rpc_seconds',
      help: 'Time from the first byte of a unary RPC to its status, in seconds',
      labelNames: ['method'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers: [registry],
    }),
  };
}

/** A gauge whose value is read when it is scraped. */
export function gaugeOf(registry: Registry, name: string, help: string, read: () => number): void {
  registry.registerMetric(
    new Gauge({
      name,
      help,
      registers: [],
      collect() {
        this.set(read());
      },
    }),
  );
}
