import { array, boolean, literal, map, object, optional, record, string, type Decoder } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { filePath } from '../../runtime/config-file.ts';
import { checkDnsName } from '../../spiffe/dns-name.ts';

/** A cluster whose agents may attest with `k8s_psat`. */
export interface PsatClusterConfig {
  /** As `namespace:name`. */
  readonly serviceAccounts: readonly string[];
  /** Whom the token must be meant for; none: the API server itself. */
  readonly audience: readonly string[];
  readonly allowedNodeLabelKeys: readonly string[];
  readonly allowedPodLabelKeys: readonly string[];
  /** How to reach the API server; the CA's own cluster unless given. */
  readonly kubeconfigFile: string | undefined;
}

/** As what a service account may log in. */
export interface AdminLoginConfig {
  readonly role: 'admin' | 'controller';
  /** DNS names in its SVID: what it serves webhooks as. */
  readonly dnsNames: readonly string[];
  /** Whether a controller may make, change and sign for entries that make an admin or a downstream CA. */
  readonly allowAdminIdentities: boolean;
  /** What the IDs of the entries begin with that a controller may make, change, delete and sign for, the dot included. */
  readonly entryIdPrefix: string;
}

/** A cluster whose service accounts may log in. */
export interface LoginClusterConfig {
  /** By `namespace:name`. */
  readonly serviceAccounts: ReadonlyMap<string, AdminLoginConfig>;
  readonly kubeconfigFile: string | undefined;
}

/** The ConfigMap that the CA keeps current with its bundle. */
export interface BundleConfigMapConfig {
  readonly namespace: string;
  readonly name: string;
  readonly kubeconfigFile: string | undefined;
}

/** Clusters by name. */
export type Clusters<T> = ReadonlyMap<string, T>;

/** What a login's token must be meant for; never what a node attestor accepts. */
export const LOGIN_AUDIENCE = 'countersign-admin';

const DEFAULT_PSAT_AUDIENCE = ['spire-server'];
// A namespace is a DNS label, the name of a service account a DNS subdomain (RFC 1123).
const SERVICE_ACCOUNT = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?$/;
// What a segment of a SPIFFE ID may hold.
const CLUSTER_NAME = /^(?!\.{1,2}$)[\w.-]{1,64}$/;
// Without a dot, so that none is the beginning of another.
const ENTRY_ID_PREFIX = /^[A-Za-z0-9_-]{1,64}$/;

/** `attestors.k8sPsat` */
export function k8sPsatShape(baseDir: string): Decoder<{ readonly clusters: Clusters<PsatClusterConfig> }> {
  const keys = optional(array(string()), []);
  const cluster = object({
    serviceAccounts: map(array(map(string(), checkServiceAccount)), requireSome),
    audience: map(optional(array(string()), DEFAULT_PSAT_AUDIENCE), refuseLoginAudience),
    allowedNodeLabelKeys: keys,
    allowedPodLabelKeys: keys,
    kubeconfig: optional(filePath(baseDir)),
  });
  const named = map(cluster, ({ kubeconfig: kubeconfigFile, ...rest }): PsatClusterConfig => ({ ...rest, kubeconfigFile }));
  return object({ clusters: clusters(named) });
}

/** `adminLogin` */
export function adminLoginShape(baseDir: string): Decoder<{ readonly clusters: Clusters<LoginClusterConfig> }> {
  const login: Decoder<GivenLogin> = object({
    role: literal('controller', 'admin'),
    dnsNames: optional(array(map(string(), parseDnsName)), []),
    allowAdminIdentities: optional(boolean, false),
    entryIdPrefix: optional(map(string(), checkPrefix)),
  });
  const cluster = object({
    serviceAccounts: map(record(login), (given) => {
      Object.keys(given).forEach(checkServiceAccount);
      return new Map(Object.entries(given));
    }),
    kubeconfig: optional(filePath(baseDir)),
  });
  const named = map(cluster, ({ serviceAccounts, kubeconfig: kubeconfigFile }) => ({ serviceAccounts, kubeconfigFile }));
  return object({ clusters: map(clusters(named), withPrefixes) });
}

type GivenLogin = Omit<AdminLoginConfig, 'entryIdPrefix'> & { readonly entryIdPrefix: string | undefined };
type GivenCluster = Omit<LoginClusterConfig, 'serviceAccounts'> & { readonly serviceAccounts: ReadonlyMap<string, GivenLogin> };

/** The cluster's name is the prefix of its logins, unless they name one; no two clusters have the same. */
function withPrefixes(given: Clusters<GivenCluster>): Clusters<LoginClusterConfig> {
  const clusterOf = new Map<string, string>();
  const prefixed = (cluster: string, { entryIdPrefix, ...login }: GivenLogin): AdminLoginConfig => {
    if (login.role === 'admin') return { ...login, entryIdPrefix: '' };
    const prefix = entryIdPrefix ?? checkPrefix(cluster);
    const other = clusterOf.get(prefix) ?? cluster;
    clusterOf.set(prefix, cluster);
    if (other === cluster) return { ...login, entryIdPrefix: `${prefix}.` };
    throw new IdentityError(
      'invalid_argument',
      `controllers of the clusters "${other}" and "${cluster}" have the entryIdPrefix "${prefix}", and would delete each other's entries`,
    );
  };
  return new Map(
    [...given].map(([name, { serviceAccounts, ...cluster }]) => {
      const logins = [...serviceAccounts].map(([account, login]) => [account, prefixed(name, login)] as const);
      return [name, { ...cluster, serviceAccounts: new Map(logins) }];
    }),
  );
}

function checkPrefix(text: string): string {
  if (ENTRY_ID_PREFIX.test(text)) return text;
  throw new IdentityError(
    'invalid_argument',
    `${JSON.stringify(text)} cannot begin the IDs of entries: letters, digits, dashes and underscores, 64 at most; set entryIdPrefix, for controllers of a cluster whose name has a dot as well`,
  );
}

/** `kubernetes.bundleConfigMap` */
export function bundleConfigMapShape(baseDir: string): Decoder<BundleConfigMapConfig> {
  const shape = object({ namespace: string(), name: string(), kubeconfig: optional(filePath(baseDir)) });
  return map(shape, ({ kubeconfig: kubeconfigFile, ...rest }) => ({ ...rest, kubeconfigFile }));
}

function clusters<T>(cluster: Decoder<T>): Decoder<Clusters<T>> {
  return map(record(cluster), (given) => {
    const names = Object.keys(given);
    if (names.length === 0) throw new IdentityError('invalid_argument', 'needs at least one cluster');
    const faulty = names.find((name) => !CLUSTER_NAME.test(name));
    if (faulty === undefined) return new Map(Object.entries(given));
    throw new IdentityError(
      'invalid_argument',
      `${JSON.stringify(faulty)} is no cluster name: letters, digits, ".", "-" and "_", since it becomes part of SPIFFE IDs`,
    );
  });
}

function checkServiceAccount(text: string): string {
  if (SERVICE_ACCOUNT.test(text)) return text;
  throw new IdentityError('invalid_argument', `${JSON.stringify(text)} is no service account: write namespace:name`);
}

function requireSome(serviceAccounts: readonly string[]): readonly string[] {
  if (serviceAccounts.length > 0) return serviceAccounts;
  throw new IdentityError('invalid_argument', 'needs at least one service account, as namespace:name');
}

// A token that attests a node must never log an admin in, and the other way round.
function refuseLoginAudience(audience: readonly string[]): readonly string[] {
  if (!audience.includes(LOGIN_AUDIENCE)) return audience;
  throw new IdentityError('invalid_argument', `"${LOGIN_AUDIENCE}" is for adminLogin; choose another audience for agents`);
}

function parseDnsName(name: string): string {
  checkDnsName(name, 'dnsNames');
  return name;
}
