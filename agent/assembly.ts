import type { Clock } from '../core/clock.ts';
import type { RelationSource } from '../policy/relations/source.ts';
import type { LogLevels } from '../runtime/log-levels.ts';
import type { Logger as Log } from '../runtime/log.ts';
import type { AgentConfig } from './config.ts';

/** What an agent is made from. */
export interface AgentOptions {
  readonly config: AgentConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** The process's environment: of it come the node's name and the API server's address in a pod. Empty unless given. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** What there is before the parts are made. */
export interface Assembly extends AgentOptions {
  readonly levels: LogLevels;
  readonly issuerRootsPem: readonly string[];
  readonly hashKey: Uint8Array;
  readonly relations: RelationSource | undefined;
}
