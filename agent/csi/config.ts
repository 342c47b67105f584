import { join } from 'node:path';
import { array, type Decoded, literal, map, object, optional, string } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { filePath, listenAddress } from '../../runtime/config-file.ts';
import { LOG_LEVELS, type LogLevel } from '../../runtime/log.ts';

/** The driver's name unless configured. */
export const DRIVER_NAME = 'csi.countersign.dev';

const DEFAULT_LEVEL: LogLevel = 'info';

/** The schema of `csi.yaml`. */
export function csiConfig(baseDir: string) {
  const folder = filePath(baseDir);
  return map(
    object({
      driverNames: optional(array(map(string(), parseDriverName)), [DRIVER_NAME]),
      socketFolder: folder,
      kubeletFolder: optional(folder, '/var/lib/kubelet'),
      pluginsFolder: optional(folder),
      registrationFolder: optional(folder),
      nodeName: optional(string()),
      nodeNameEnv: optional(string(), 'MY_NODE_NAME'),
      listen: optional(object({ http: optional(listenAddress(baseDir)) }), { http: undefined }),
      log: optional(object({ level: optional(literal(...LOG_LEVELS), DEFAULT_LEVEL) }), { level: DEFAULT_LEVEL }),
    }),
    (config) => ({
      ...config,
      pluginsFolder: config.pluginsFolder ?? join(config.kubeletFolder, 'plugins'),
      registrationFolder: config.registrationFolder ?? join(config.kubeletFolder, 'plugins_registry'),
    }),
  );
}

/** The configuration of the CSI driver. */
export type CsiConfig = Decoded<ReturnType<typeof csiConfig>>;

/** CSI: a driver's name is a domain name of at most 63 characters. */
function parseDriverName(text: string): string {
  if (text.length <= 63 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(text)) return text;
  throw new IdentityError('invalid_argument', `"${text}" is no name of a driver; write one such as ${DRIVER_NAME}`);
}
