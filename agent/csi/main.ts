import { systemClock } from '../../core/clock.ts';
import { loadConfigFile } from '../../runtime/config-file.ts';
import { runProcess } from '../../runtime/lifecycle.ts';
import { createLogger } from '../../runtime/log.ts';
import { startCsi } from './app.ts';
import { csiConfig } from './config.ts';

/** How the CSI driver is started. */
export interface CsiRunOptions {
  readonly configFile: string;
  /** Only reads the configuration and says whether it is in order. */
  readonly checkConfig: boolean;
  readonly write: (text: string) => void;
}

/**
 * Runs the CSI driver until it is told to stop.
 *
 * @returns the exit code
 * @throws IdentityError `invalid_argument` with every fault of the configuration
 */
export async function runCsi({ configFile, checkConfig, write }: CsiRunOptions): Promise<number> {
  const config = await loadConfigFile(configFile, csiConfig);
  if (checkConfig) {
    write(`${configFile} is good\n`);
    return 0;
  }
  const log = createLogger({ level: config.log.level, name: 'csi' });
  return runProcess({ log, start: () => startCsi({ config, clock: systemClock, log, environment: process.env }) });
}
