import { array, decode, literal, map, object, oneOf, optional, string, type Decoded, type Decoder } from '../core/decode.ts';
import { IdentityError } from '../core/errors.ts';
import { bootstrapShape } from '../runtime/bootstrap.ts';
import { filePath, listenAddress, type ListenAddress } from '../runtime/config-file.ts';
import { LOG_LEVELS, type LogLevel } from '../runtime/log.ts';
import { parseSpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../spiffe/trust-domain.ts';
import { authorizationConfig } from './authz/config.ts';
import { sdsConfig } from './sds/config.ts';
import { workloadAttestorsConfig } from './workload-attest/config.ts';

// Workload Endpoint §3 allows TCP only where the network proves who is calling, which this agent cannot check.
function requireUnix(address: ListenAddress): Extract<ListenAddress, { kind: 'unix' }> {
  if (address.kind === 'unix') return address;
  throw new IdentityError('invalid_argument', 'must be a unix socket, such as unix:./run/agent/public/api.sock');
}

const logLevel: Decoder<LogLevel> = literal(...LOG_LEVELS);
const DEFAULT_LEVEL: LogLevel = 'info';

/** The schema of `agent.yaml`. */
export function agentConfig(baseDir: string) {
  const file = filePath(baseDir);
  const address = listenAddress(baseDir);
  const socket = map(address, requireUnix);
  return object({
    trustDomain: map(string(), (text) => parseTrustDomain(text, 'trustDomain')),
    dataDir: file,
    server: address,
    bootstrap: bootstrapShape(baseDir),
    attestor: oneOf({
      joinTokenFile: file,
      x509pop: object({ certFile: file, keyFile: file, intermediatesFile: optional(file) }),
      k8sPsat: object({ cluster: string(), tokenFile: file }),
    }),
    keys: optional(object({ kind: literal('disk', 'memory') }), { kind: 'disk' }),
    workloadAttestors: workloadAttestorsConfig(baseDir),
    sds: sdsConfig,
    listen: object({ workload: socket, admin: optional(socket), authz: optional(socket), http: optional(address) }),
    authorization: authorizationConfig(baseDir),
    authorizedDelegates: optional(array(map(string(), (text) => parseSpiffeId(text, 'authorizedDelegates'))), []),
    log: optional(object({ level: optional(logLevel, DEFAULT_LEVEL) }), { level: DEFAULT_LEVEL }),
  });
}

/** The configuration of an agent. */
export type AgentConfig = Decoded<ReturnType<typeof agentConfig>>;

/**
 * Reads a configuration that is already parsed from YAML.
 *
 * @throws DecodeError that lists every fault with its path
 */
export function parseAgentConfig(input: unknown, baseDir: string): AgentConfig {
  return decode(agentConfig(baseDir), input);
}
