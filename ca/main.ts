import { systemClock } from '../core/clock.ts';
import { loadConfigFile } from '../runtime/config-file.ts';
import { inClusterEnvironment } from '../runtime/kubernetes/access.ts';
import { runProcess } from '../runtime/lifecycle.ts';
import { createLogger } from '../runtime/log.ts';
import { notesOn, unreadableFiles } from './config-notes.ts';
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
  const notes = notesOn(config);
  if (checkConfig) return reportOn(configFile, { write, notes, faults: await unreadableFiles(config) });
  const log = createLogger({ level: config.log.level, name: 'countersign-ca' });
  for (const note of notes) log.warn({ note }, 'a setting has no effect');
  return runProcess({
    log,
    start: async () => {
      const { startCa } = await import('./app.ts');
      return startCa({ config, clock: systemClock, log, inCluster: inClusterEnvironment(process.env) });
    },
  });
}

interface Findings {
  readonly write: (text: string) => void;
  readonly notes: readonly string[];
  readonly faults: readonly string[];
}

function reportOn(configFile: string, { write, notes, faults }: Findings): number {
  for (const note of notes) write(`note: ${note}\n`);
  for (const fault of faults) write(`fault: ${fault}\n`);
  write(faults.length === 0 ? `${configFile} is good\n` : `${configFile} has ${faults.length} fault(s)\n`);
  return faults.length === 0 ? 0 : 1;
}
