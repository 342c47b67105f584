import { systemClock } from '../core/clock.ts';
import { loadConfigFile } from '../runtime/config-file.ts';
import { runProcess } from '../runtime/lifecycle.ts';
import { createLogger } from '../runtime/log.ts';
import { caConfig } from './config.ts';

/** How `countersign ca run` was called. */
export interface RunCaOptions {
  /** Absolute path of `ca.yaml`. */
  readonly configFile: string;
  /** Only reads the configuration and says whether it is good. */
  readonly checkConfig: boolean;
  readonly write: (text: string) => void;
}

/** Runs the CA until it is told to stop. @returns the exit code @throws IdentityError `invalid_argument` for a faulty configuration */
export async function runCa({ configFile, checkConfig, write }: RunCaOptions): Promise<number> {
  const config = await loadConfigFile(configFile, caConfig);
  if (checkConfig) {
    write(`${configFile} is good\n`);
    return 0;
  }
  const log = createLogger({ level: config.log.level, name: 'countersign-ca' });
  return runProcess({
    log,
    start: async () => {
      const { startCa } = await import('./app.ts');
      return startCa({ config, clock: systemClock, log });
    },
  });
}
