import { Counter, type Registry } from '../metrics.ts';

/** What the Kubernetes side of a process counts. */
export interface KubeMetrics {
  readonly requests: Counter<'verb' | 'resource' | 'code'>;
  readonly watchEvents: Counter<'resource' | 'type'>;
  readonly watchRestarts: Counter<'resource'>;
  readonly relists: Counter<'resource'>;
  readonly droppedEvents: Counter;
  readonly leader: Counter<'change'>;
}

/** Registers the counters of requests, watches, Kubernetes Events and leadership. */
export function createKubeMetrics(registry: Registry): KubeMetrics {
  const registers = [registry];
  return {
    requests: new Counter({
      name: 'countersign_kubernetes_requests_total',
      help: 'Requests to the API server that ended, by verb, resource and HTTP status (0: none)',
      labelNames: ['verb', 'resource', 'code'],
      registers,
    }),
    watchEvents: new Counter({
      name: 'countersign_kubernetes_watch_events_total',
      help: 'Events received by watches, by resource and type',
      labelNames: ['resource', 'type'],
      registers,
    }),
    watchRestarts: new Counter({
      name: 'countersign_kubernetes_watch_restarts_total',
      help: 'Watches that were begun again after they had ended, by resource',
      labelNames: ['resource'],
      registers,
    }),
    relists: new Counter({
      name: 'countersign_kubernetes_relists_total',
      help: 'Lists that were needed after the first because a watch could not be resumed, by resource',
      labelNames: ['resource'],
      registers,
    }),
    droppedEvents: new Counter({
      name: 'countersign_kubernetes_events_dropped_total',
      help: 'Kubernetes Events that were not written because there were too many or the API server was away',
      registers,
    }),
    leader: new Counter({
      name: 'countersign_kubernetes_leader_changes_total',
      help: 'Times that this process became leader or lost it, by change (won, lost)',
      labelNames: ['change'],
      registers,
    }),
  };
}
