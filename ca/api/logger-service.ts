import type { Logger as LoggerService } from '../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import { loggerHandlers } from '../../runtime/logger-handlers.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { LogLevels } from '../log-levels.ts';

/** `spire.api.server.logger.v1.Logger`: how much the CA logs, while it runs. */
export function loggerService(levels: LogLevels): ServiceHandlers<typeof LoggerService, Peer> {
  return loggerHandlers(levels);
}
