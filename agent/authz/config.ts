import {
  array,
  boolean,
  decode,
  type Decoded,
  duration,
  integer,
  map,
  number,
  object,
  optional,
  string,
} from '../../core/decode.ts';
import type { Duration } from '../../core/duration.ts';
import { IdentityError } from '../../core/errors.ts';
import { openFgaConfig } from '../../runtime/openfga/config.ts';
import { filePath } from '../../runtime/config-file.ts';

/** The schema of `authorization` in `agent.yaml`. */
export function authorizationConfig(baseDir: string) {
  const decisionLog = object({
    sample: optional(number({ min: 0, max: 1 }), 0.01),
    recordsPerSecond: optional(integer({ min: 0, max: 100_000 }), 20),
    hashKeyFile: optional(filePath(baseDir)),
  });
  const calls = object({
    record: optional(boolean, true),
    interval: optional(map(duration, requireSecond), { ms: 10_000 }),
    maxKinds: optional(integer({ min: 100, max: 1_000_000 }), 10_000),
  });
  const shape = object({
    maxStaleness: optional(duration, { ms: 24 * 3_600_000 }),
    allowPrivateHosts: optional(array(string()), []),
    webRootFiles: optional(array(filePath(baseDir)), []),
    decisionLog: optional(decisionLog, decode(decisionLog, {})),
    calls: optional(calls, decode(calls, {})),
    relations: optional(object({ openfga: openFgaConfig(baseDir) })),
  });
  return optional(shape, decode(shape, {}));
}

/** How calls are decided, and what is kept of them. */
export type AuthorizationConfig = Decoded<ReturnType<typeof authorizationConfig>>;

function requireSecond(interval: Duration): Duration {
  if (interval.ms >= 1000) return interval;
  throw new IdentityError('invalid_argument', 'must be 1s at least: each report is a write to the store of the CA');
}
