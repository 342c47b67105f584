import { array, decode, literal, map, object, oneOf, optional, string, type Decoded, type Decoder } from '../core/decode.ts';
import { IdentityError } from '../core/errors.ts';
import { filePath, listenAddress, type ListenAddress } from '../runtime/config-file.ts';
import { LOG_LEVELS, type LogLevel } from '../runtime/log.ts';
import { parseSpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../spiffe/trust-domain.ts';
import { sdsConfig } from './sds/config.ts';
import { workloadAttestorsConfig } from './workload-attest/config.ts';

/** How the agent comes to trust the CA when it has no bundle of its own yet. */
export type Bootstrap =
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'url'; readonly url: URL; readonly sha256Hex: string | undefined }
  | { readonly kind: 'insecure' };

const bootstrapShape = (baseDir: string): Decoder<Bootstrap> =>
  map(
    object({
      file: optional(filePath(baseDir)),
      url: optional(map(string(), parseUrl)),
      sha256: optional(map(string(), parseSha256)),
      insecure: optional(literalTrue),
    }),
    chooseBootstrap,
  );

const literalTrue: Decoder<true> = {
  read(input, path, faults) {
    if (input === true) return true;
    return map<string, true>(literal('true'), () => true).read(input, path, faults);
  },
};

function chooseBootstrap(given: {
  readonly file: string | undefined;
  readonly url: URL | undefined;
  readonly sha256: string | undefined;
  readonly insecure: true | undefined;
}): Bootstrap {
  const { file, url, sha256, insecure } = given;
  const ways = [file, url, insecure].filter((way) => way !== undefined);
  if (ways.length !== 1) throw new IdentityError('invalid_argument', 'give exactly one of file, url or insecure: true');
  if (sha256 !== undefined && url === undefined) throw new IdentityError('invalid_argument', 'sha256 goes with url only');
  if (file !== undefined) return { kind: 'file', file };
  if (url === undefined) return { kind: 'insecure' };
  if (url.protocol === 'https:' || sha256 !== undefined) return { kind: 'url', url, sha256Hex: sha256 };
  throw new IdentityError(
    'invalid_argument',
    'a bundle over plain http can be forged; use https, or pin the document with sha256',
  );
}

// Workload Endpoint §3 allows TCP only where the network proves who is calling, which this agent cannot check.
function requireUnix(address: ListenAddress): Extract<ListenAddress, { kind: 'unix' }> {
  if (address.kind === 'unix') return address;
  throw new IdentityError('invalid_argument', 'must be a unix socket, such as unix:./run/agent/public/api.sock');
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw new IdentityError('invalid_argument', 'expected an https URL');
}

function parseSha256(text: string): string {
  const hex = text.replace(/^sha256:/, '').toLowerCase();
  if (/^[0-9a-f]{64}$/.test(hex)) return hex;
  throw new IdentityError('invalid_argument', 'expected 64 hexadecimal digits, as sha256sum prints them');
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
    }),
    keys: optional(object({ kind: literal('disk', 'memory') }), { kind: 'disk' }),
    workloadAttestors: workloadAttestorsConfig(baseDir),
    sds: sdsConfig,
    listen: object({ workload: socket, admin: optional(socket), http: optional(address) }),
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
