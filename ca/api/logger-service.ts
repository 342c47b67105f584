import { IdentityError } from '../../core/errors.ts';
import type { Logger as LoggerService } from '../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { LogLevel } from '../../proto/gen/spire/api/types/logger_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { LogLevels } from '../log-levels.ts';

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

/** `spire.api.server.logger.v1.Logger`: how much the CA logs, while it runs. */
export function loggerService(levels: LogLevels): ServiceHandlers<typeof LoggerService, Peer> {
  const show = () => ({ currentLevel: numberOf(levels.level), launchLevel: numberOf(levels.launchLevel) });
  return {
    getLogger: show,
    setLogLevel: ({ newLevel }) => {
      if (newLevel === LogLevel.UNSPECIFIED) {
        throw new IdentityError('invalid_argument', 'newLevel value cannot be LogLevel_UNSPECIFIED', { field: 'new_level' });
      }
      const level = LEVELS.get(newLevel);
      if (level === undefined) throw new IdentityError('invalid_argument', 'unsupported log level', { field: 'new_level' });
      levels.level = level;
      return show();
    },
    resetLogLevel: () => {
      levels.level = levels.launchLevel;
      return show();
    },
  };
}

function numberOf(level: string): LogLevel {
  // The cast is sound: the numbers of the map are LogLevel's.
  return (NUMBERS.get(level) ?? LogLevel.UNSPECIFIED) as LogLevel;
}
