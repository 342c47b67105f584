import type { Clock } from '../core/clock.ts';
import { Current } from '../core/current.ts';
import type { CheckResult } from '../runtime/http.ts';
import type { InClusterEnvironment } from '../runtime/kubernetes/access.ts';
import type { Logger } from '../runtime/log.ts';
import type { ControllerConfig } from './config.ts';
import type { ControllerMetrics } from './controller-metrics.ts';

/** What a controller is made from. */
export interface ControllerOptions {
  readonly config: ControllerConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** Reads resources from this folder instead of the API server, and prints statuses. */
  readonly resourcesDir?: string | undefined;
  /** Where the API server of this pod is; undefined outside a cluster. */
  readonly inCluster?: InClusterEnvironment | undefined;
  /** Where statuses go when they have no object to go into. */
  readonly write: (text: string) => void;
}

/** What there is before anything has been reached. */
export interface Assembly extends ControllerOptions {
  readonly metrics: ControllerMetrics;
  readonly state: ControllerState;
}

/** What is said of deletions when all is well. */
export const NOTHING_HELD = 'no deletion is held back';

export const CA_NOT_REACHED = 'the CA has not been reached yet (see ca in controller.yaml)';
export const NOT_READ = 'resources have not all been read yet';
const NOT_SERVED = 'webhooks are served once the CA is reached and all resources are read';

/** How far the controller has come, for `/readyz`. */
export class ControllerState {
  readonly ca = new Current<CheckResult>({ ok: false, reason: CA_NOT_REACHED });
  readonly source = new Current<CheckResult>({ ok: false, reason: NOT_READ });
  /** Whether entries are kept that nothing declares: the rest works, so this is no reason to take no requests. */
  readonly deletions = new Current<CheckResult>({ ok: true, reason: NOTHING_HELD });
  /** Whether the webhooks are served, or need not be: a Service sends requests to whoever is ready. */
  readonly webhooks = new Current<CheckResult>({ ok: false, reason: NOT_SERVED });
  /** What is waited for and why, such as `the CA: cannot be reached`. */
  get waitingFor(): string {
    if (!this.ca.value.ok) return `the CA: ${this.ca.value.reason}`;
    return this.source.value.ok ? 'an answer of the CA' : `the API server: ${this.source.value.reason}`;
  }

  readonly checks = {
    ca: () => this.ca.value,
    resources: () => this.source.value,
    webhooks: () => this.webhooks.value,
    deletions: () => this.deletions.value,
  };
}
