import {
  array,
  boolean,
  duration,
  integer,
  literal,
  map,
  object,
  optional,
  refine,
  string,
  type Decoder,
  type Fault,
} from '../core/decode.ts';
import { durationOfMs, type Duration } from '../core/duration.ts';
import { IdentityError } from '../core/errors.ts';
import { filePath, listenAddress, type ListenAddress } from '../runtime/config-file.ts';
import { LOG_LEVELS, type LogLevel } from '../runtime/log.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain, type TrustDomain } from '../spiffe/trust-domain.ts';
import {
  adminLoginShape,
  bundleConfigMapShape,
  k8sPsatShape,
  type BundleConfigMapConfig,
  type Clusters,
  type LoginClusterConfig,
  type PsatClusterConfig,
} from './kubernetes/config.ts';
import { tokenExchangeShape, type TokenExchangeConfig } from './exchange/config.ts';
import { KEY_ALGORITHMS, type KeyAlgorithm } from './keys/key-store.ts';

/** Where registration state lives. */
export type StoreConfig = { readonly kind: 'sqlite' } | { readonly kind: 'postgres'; readonly urlFile: string };

/** The root under which the CA's own X.509 authorities are intermediates. */
export interface UpstreamConfig {
  readonly disk: { readonly certFile: string; readonly keyFile: string; readonly bundleFile: string | undefined };
}

/** Node attestation by X.509 proof of possession. */
export interface X509PopConfig {
  /** PEM files with the roots that a node's certificate must lead to; at least one. */
  readonly caFiles: readonly string[];
  /** Most intermediates that a node may present. */
  readonly maxIntermediates: number;
}

/** The ways in which a node may prove what it is; absent ones are off. */
export interface AttestorsConfig {
  readonly joinToken: Readonly<Record<string, never>> | undefined;
  readonly x509pop: X509PopConfig | undefined;
  readonly k8sPsat: { readonly clusters: Clusters<PsatClusterConfig> } | undefined;
}

/** Certificate of the `public` listener; without files it serves the CA's own SVID. */
export interface PublicTlsConfig {
  readonly certFile: string;
  readonly keyFile: string;
}

/** How this trust domain's bundle is served to others, and which hosts may be polled. */
export interface FederationConfig {
  /** Serves this trust domain's bundle on `listen.public`. */
  readonly endpoint: { readonly profile: 'https_web' | 'https_spiffe'; readonly refreshHint: Duration } | undefined;
  /** Hosts of bundle endpoints that may be polled although their address is private, link-local or loopback. */
  readonly allowPrivateHosts: readonly string[];
  /** PEM files of the roots for `https_web`; the system's own when empty. */
  readonly webRootFiles: readonly string[];
}

/** What holds for authorization in all of the trust domain. */
export interface AuthorizationConfig {
  /** What is decided where no ALLOW policy selects the destination. */
  readonly default: 'audit' | 'allow' | 'deny';
  readonly calls: {
    /** How long recorded calls are kept. */
    readonly keep: Duration;
  };
}

/** The whole configuration of `countersign ca run`; times are durations, paths absolute. */
export interface CaConfig {
  readonly trustDomain: TrustDomain;
  readonly dataDir: string;
  readonly listen: {
    readonly grpc: Extract<ListenAddress, { kind: 'tcp' }>;
    readonly admin: Extract<ListenAddress, { kind: 'unix' }>;
    readonly http: ListenAddress | undefined;
    readonly public: Extract<ListenAddress, { kind: 'tcp' }> | undefined;
    readonly token: Extract<ListenAddress, { kind: 'tcp' }> | undefined;
  };
  readonly store: StoreConfig;
  readonly keys: {
    readonly kind: 'disk' | 'memory';
    /** Kind of the X.509 authorities' keys; `ec-p256` unless given. */
    readonly caKeyType?: KeyAlgorithm | undefined;
    /** Kind of the JWT and WIT authorities' keys; `ec-p256` unless given. */
    readonly jwtKeyType?: KeyAlgorithm | undefined;
  };
  /** Requests per second and client address; 0 turns a limit off. */
  readonly rateLimits: { readonly attestation: number; readonly signing: number };
  readonly ttl: {
    readonly ca: Duration;
    readonly x509Svid: Duration;
    readonly jwtSvid: Duration;
    readonly witSvid: Duration;
    readonly agentSvid: Duration;
  };
  /** The `iss` of JWT-SVIDs; an https URL, which also turns OIDC discovery on. */
  readonly jwtIssuer: string | undefined;
  readonly upstream: UpstreamConfig | undefined;
  readonly attestors: AttestorsConfig;
  /** Service accounts that may log in and administer the CA over TLS. */
  readonly adminLogin: { readonly clusters: Clusters<LoginClusterConfig> } | undefined;
  /** What the CA keeps current in a cluster. */
  readonly kubernetes: { readonly bundleConfigMap: BundleConfigMapConfig | undefined } | undefined;
  /** SPIFFE IDs that may administer the CA over TLS, besides those of entries with `admin`. */
  readonly admins: readonly SpiffeId[];
  /** Agents whose SVID ran out this long ago are forgotten; absent keeps them. */
  readonly pruneAgentsAfter: Duration | undefined;
  readonly publicTls: PublicTlsConfig | undefined;
  /** Tokens of users for the next service, and of workloads for themselves, on `listen.token`. */
  readonly tokenExchange: TokenExchangeConfig | undefined;
  readonly federation: FederationConfig;
  readonly authorization: AuthorizationConfig;
  readonly reflection: boolean;
  readonly log: { readonly level: LogLevel };
}

const lifetime: Decoder<Duration> = map(duration, (value) => {
  if (value.ms >= SECOND_MS) return value;
  throw new IdentityError('invalid_argument', 'must be at least 1s');
});

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const SECOND_MS = 1000;
const DEFAULT_TTL = {
  ca: durationOfMs(24 * HOUR_MS),
  x509Svid: durationOfMs(HOUR_MS),
  jwtSvid: durationOfMs(5 * MINUTE_MS),
  witSvid: durationOfMs(HOUR_MS),
  agentSvid: durationOfMs(HOUR_MS),
};
const DEFAULT_MAX_INTERMEDIATES = 4;
const DEFAULT_CALLS = { keep: durationOfMs(7 * 24 * HOUR_MS) };

/** The strict schema of `ca.yaml`; `baseDir` is the folder that its relative paths start from. */
export function caConfig(baseDir: string): Decoder<CaConfig> {
  const shape = object({
    trustDomain: map(string(), (text) => parseTrustDomain(text)),
    dataDir: filePath(baseDir),
    listen: listenShape(baseDir),
    store: optional(store(baseDir), { kind: 'sqlite' }),
    keys: optional(keysShape, { kind: 'disk', caKeyType: undefined, jwtKeyType: undefined }),
    rateLimits: optional(
      object({ attestation: optional(integer({ min: 0, max: 1e6 }), 1), signing: optional(integer({ min: 0, max: 1e6 }), 500) }),
      { attestation: 1, signing: 500 },
    ),
    ttl: optional(ttlShape, DEFAULT_TTL),
    jwtIssuer: optional(map(string(), httpsIssuer)),
    upstream: optional(
      object({
        disk: object({ certFile: filePath(baseDir), keyFile: filePath(baseDir), bundleFile: optional(filePath(baseDir)) }),
      }),
    ),
    attestors: optional(attestorsShape(baseDir), { joinToken: {}, x509pop: undefined, k8sPsat: undefined }),
    adminLogin: optional(adminLoginShape(baseDir)),
    kubernetes: optional(object({ bundleConfigMap: optional(bundleConfigMapShape(baseDir)) })),
    admins: optional(array(map(string(), (text) => parseSpiffeId(text))), []),
    pruneAgentsAfter: optional(duration),
    publicTls: optional(object({ certFile: filePath(baseDir), keyFile: filePath(baseDir) })),
    tokenExchange: optional(tokenExchangeShape(baseDir)),
    federation: optional(federationShape(baseDir), { endpoint: undefined, allowPrivateHosts: [], webRootFiles: [] }),
    authorization: optional(authorizationShape, { default: 'audit', calls: DEFAULT_CALLS } as const),
    reflection: optional(boolean, true),
    log: optional(object({ level: literal(...LOG_LEVELS) }), { level: 'info' } as const),
  });
  return refine(shape, exchangeFaults);
}

function exchangeFaults({ trustDomain, jwtIssuer, tokenExchange }: CaConfig): readonly Fault[] {
  const { issuer, rules = [] } = tokenExchange ?? {};
  const strangers = rules.flatMap(({ workloads }, at) =>
    workloads.flatMap((id, index) => (id.isMemberOf(trustDomain) ? [] : [`tokenExchange.rules[${at}].workloads[${index}]`])),
  );
  return [
    // JWT-SVIDs and exchanged tokens have different keys: who looks them up by issuer must not find the others'.
    ...(issuer !== undefined && issuer === jwtIssuer ? [{ path: 'tokenExchange.issuer', message: 'must not be jwtIssuer' }] : []),
    ...strangers.map((path) => ({ path, message: `is not of the trust domain ${trustDomain.name}` })),
  ];
}

// Counted by the hour: a shorter time would keep nothing.
const keep = map(duration, (value) => {
  if (value.ms >= HOUR_MS && value.ms <= 90 * 24 * HOUR_MS) return value;
  throw new IdentityError('invalid_argument', 'must be from 1h to 90d');
});
const authorizationShape = object({
  default: optional(literal('audit', 'allow', 'deny'), 'audit' as const),
  calls: optional(object({ keep: optional(keep, DEFAULT_CALLS.keep) }), DEFAULT_CALLS),
});

const keyType = optional(literal(...KEY_ALGORITHMS));
const keysShape = object({ kind: literal('disk', 'memory'), caKeyType: keyType, jwtKeyType: keyType });

function listenShape(baseDir: string) {
  return object({
    grpc: map(listenAddress(baseDir), tcpOnly),
    admin: map(listenAddress(baseDir), unixOnly),
    http: optional(listenAddress(baseDir)),
    public: optional(map(listenAddress(baseDir), tcpOnly)),
    token: optional(map(listenAddress(baseDir), tcpOnly)),
  });
}

function tcpOnly(address: ListenAddress): Extract<ListenAddress, { kind: 'tcp' }> {
  if (address.kind === 'tcp') return address;
  throw new IdentityError('invalid_argument', 'must be host:port: this listener speaks TLS over TCP');
}

function unixOnly(address: ListenAddress): Extract<ListenAddress, { kind: 'unix' }> {
  if (address.kind === 'unix') return address;
  throw new IdentityError('invalid_argument', 'must be unix:PATH: who may open the socket may administer the CA');
}

function store(baseDir: string): Decoder<StoreConfig> {
  return map(object({ kind: literal('sqlite', 'postgres'), urlFile: optional(filePath(baseDir)) }), ({ kind, urlFile }) => {
    if (kind === 'sqlite') {
      if (urlFile === undefined) return { kind };
      throw new IdentityError('invalid_argument', 'urlFile is for kind: postgres; SQLite lives in dataDir');
    }
    if (urlFile !== undefined) return { kind, urlFile };
    throw new IdentityError('invalid_argument', 'kind: postgres needs urlFile, a file with the postgres:// URL');
  });
}

// What a configured lifetime is, and what it is when it is left out: never longer than that of the authority.
const ttlShape = map(
  object({
    ca: optional(lifetime, DEFAULT_TTL.ca),
    x509Svid: optional(lifetime),
    jwtSvid: optional(lifetime),
    witSvid: optional(lifetime),
    agentSvid: optional(lifetime),
  }),
  ({ ca, x509Svid, jwtSvid, witSvid, agentSvid }): CaConfig['ttl'] => {
    const orDefault = (given: Duration | undefined, usual: Duration): Duration =>
      durationOfMs(Math.min(ca.ms, (given ?? usual).ms));
    const x509 = orDefault(x509Svid, DEFAULT_TTL.x509Svid);
    return {
      ca,
      x509Svid: x509,
      jwtSvid: orDefault(jwtSvid, DEFAULT_TTL.jwtSvid),
      witSvid: orDefault(witSvid, DEFAULT_TTL.witSvid),
      agentSvid: orDefault(agentSvid, x509),
    };
  },
);

function attestorsShape(baseDir: string): Decoder<AttestorsConfig> {
  return object({
    joinToken: optional(object({})),
    x509pop: optional(
      map(
        object({
          caFile: optional(filePath(baseDir)),
          caFiles: optional(array(filePath(baseDir))),
          maxIntermediates: optional(integer({ min: 1, max: 16 }), DEFAULT_MAX_INTERMEDIATES),
        }),
        ({ caFile, caFiles = [], maxIntermediates }) => ({ caFiles: oneSource(caFile, caFiles), maxIntermediates }),
      ),
    ),
    k8sPsat: optional(k8sPsatShape(baseDir)),
  });
}

function oneSource(caFile: string | undefined, caFiles: readonly string[]): readonly string[] {
  if (caFile !== undefined && caFiles.length === 0) return [caFile];
  if (caFile === undefined && caFiles.length > 0) return caFiles;
  throw new IdentityError('invalid_argument', 'needs either caFile or caFiles: the roots that node certificates lead to');
}

function federationShape(baseDir: string): Decoder<FederationConfig> {
  return object({
    endpoint: optional(
      object({
        profile: literal('https_web', 'https_spiffe'),
        refreshHint: optional(duration, durationOfMs(5 * MINUTE_MS)),
      }),
    ),
    allowPrivateHosts: optional(array(string()), []),
    webRootFiles: optional(array(filePath(baseDir)), []),
  });
}

function httpsIssuer(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.search !== '' || url.hash !== '' || url.username !== '') {
    throw new IdentityError(
      'invalid_argument',
      'must be an https:// URL without query, fragment or user (OpenID Connect Discovery §3)',
    );
  }
  return text;
}
