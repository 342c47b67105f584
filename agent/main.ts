import { systemClock } from '../core/clock.ts';
import { loadConfigFile } from '../runtime/config-file.ts';
import { runProcess } from '../runtime/lifecycle.ts';
import { createLogger } from '../runtime/log.ts';
import { startAgent } from './app.ts';
import { agentConfig } from './config.ts';

/** How the agent is started. */
export interface AgentRunOptions {
  readonly configFile: string;
  /** Only reads the configuration and says whether it is in order. */
  readonly checkConfig: boolean;
  readonly write: (text: string) => void;
}

/**
 * Runs the agent until it is told to stop.
 *
 * @returns the exit code
 * @throws IdentityError `invalid_argument` with every fault of the configuration
 */
export async function runAgent({ configFile, checkConfig, write }: AgentRunOptions): Promise<number> {
  const config = await loadConfigFile(configFile, agentConfig);
  if (checkConfig) {
    write(`${configFile} is good\n`);
    return 0;
  }
  const log = createLogger({ level: config.log.level, name: 'agent' });
  return runProcess({
    log,
    start: (signal) => startAgent({ config, clock: systemClock, log, environment: process.env }, signal),
  });
}
