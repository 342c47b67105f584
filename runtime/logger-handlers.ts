import { IdentityError } from '../core/errors.ts';
import { LogLevel } from '../proto/gen/spire/api/types/logger_pb.ts';
import type { LogLevels } from './log-levels.ts';

const LEVELS = new Map<number, string>([
  // There is no level above fatal here.
  [LogLevel.PANIC, 'fatal'],
  [LogLevel.FATAL, 'fatal'],
  [LogLevel.ERROR, 'error'],
  [LogLevel.WARN, 'warn'],
  [LogLevel.INFO, 'info'],
  [LogLevel.DEBUG, 'debug'],
  [LogLevel.TRACE, 'trace'],
]);
const NUMBERS = new Map([...LEVELS].map(([number, level]) => [level, number]));

interface Levels {
  readonly currentLevel: LogLevel;
  readonly launchLevel: LogLevel;
}

/** How much a process logs, while it runs: the handlers of SPIRE's logger services, that of the server and that of the agent. */
export function loggerHandlers(levels: LogLevels) {
  const show = (): Levels => ({ currentLevel: numberOf(levels.level), launchLevel: numberOf(levels.launchLevel) });
  return {
    getLogger: show,
    setLogLevel({ newLevel }: { readonly newLevel: LogLevel }): Levels {
      if (newLevel === LogLevel.UNSPECIFIED) {
        throw new IdentityError('invalid_argument', 'newLevel value cannot be LogLevel_UNSPECIFIED', { field: 'new_level' });
      }
      const level = LEVELS.get(newLevel);
      if (level === undefined) throw new IdentityError('invalid_argument', 'unsupported log level', { field: 'new_level' });
      levels.level = level;
      return show();
    },
    resetLogLevel(): Levels {
      levels.level = levels.launchLevel;
      return show();
    },
  };
}

function numberOf(level: string): LogLevel {
  // The cast is sound: the numbers of the map are LogLevel's.
  return (NUMBERS.get(level) ?? LogLevel.UNSPECIFIED) as LogLevel;
}
