import { systemClock } from '../core/clock.ts';
import { loadConfigFile } from '../runtime/config-file.ts';
import { inClusterEnvironment } from '../runtime/kubernetes/access.ts';
import { runProcess } from '../runtime/lifecycle.ts';
import { createLogger } from '../runtime/log.ts';
import { planController, startController } from './app.ts';
import type { ControllerOptions } from './assembly.ts';
import { controllerConfig } from './config.ts';
import { hasChanges, planText } from './plan.ts';

/** How the controller is started. */
export interface ControllerRunOptions {
  readonly configFile: string;
  /** Only reads the configuration and says whether it is in order. */
  readonly checkConfig: boolean;
  /** Reads resources from this folder instead of the API server. */
  readonly resourcesDir: string | undefined;
  /** Only prints what would be written: for people, or as JSON. */
  readonly plan: 'text' | 'json' | undefined;
  /** How long a plan may wait for the CA and the API server. */
  readonly planTimeoutMs: number;
  readonly write: (text: string) => void;
  /** Where it is told what a plan waits for. */
  readonly writeError: (text: string) => void;
  /** Aborts when the user interrupts. */
  readonly signal: AbortSignal;
}

/** The exit code of a plan that would change something; 0 is one that would not, 1 a failure. */
export const PLAN_HAS_CHANGES = 2;

/**
 * Runs the controller until it is told to stop, or prints a plan.
 *
 * @returns the exit code
 * @throws IdentityError `invalid_argument` with every fault of the configuration
 */
export async function runController(options: ControllerRunOptions): Promise<number> {
  const { configFile, checkConfig, resourcesDir, write } = options;
  const config = await loadConfigFile(configFile, controllerConfig);
  if (checkConfig) {
    write(`${configFile} is good\n`);
    return 0;
  }
  const level = options.plan === undefined ? config.log.level : 'error';
  const log = createLogger({ level, name: 'controller' });
  const inCluster = inClusterEnvironment(process.env);
  const controller = { config, clock: systemClock, log, resourcesDir, inCluster, write };
  if (options.plan !== undefined) return printPlan(controller, options);
  return runProcess({ log, start: (signal) => startController(controller, signal) });
}

async function printPlan(controller: ControllerOptions, options: ControllerRunOptions): Promise<number> {
  const { plan, planTimeoutMs: timeoutMs, write, writeError, signal } = options;
  const tell = (text: string): void => writeError(`${text}\n`);
  const complain = plan === 'json' ? () => {} : write;
  // What is wrong with a file belongs to the plan, but not into its JSON.
  const made = await planController({ ...controller, timeoutMs, tell, write: complain }, signal);
  write(plan === 'json' ? `${JSON.stringify({ ...made, hasChanges: hasChanges(made) }, undefined, 2)}\n` : planText(made));
  return hasChanges(made) ? PLAN_HAS_CHANGES : 0;
}
