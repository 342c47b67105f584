import {
  array,
  boolean,
  decode,
  duration,
  literal,
  map,
  object,
  optional,
  record,
  string,
  type Decoder,
} from '../core/decode.ts';
import { durationOfMs, type Duration } from '../core/duration.ts';
import { IdentityError } from '../core/errors.ts';
import { labelSelector, type LabelSelector } from '../policy/schema/label-selector.ts';
import { bootstrapShape, type Bootstrap } from '../runtime/bootstrap.ts';
import { filePath, listenAddress, type ListenAddress } from '../runtime/config-file.ts';
import { LOG_LEVELS, type LogLevel } from '../runtime/log.ts';
import { createSpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain, type TrustDomain } from '../spiffe/trust-domain.ts';
import type { MassDeletion } from './entries/held-deletions.ts';
import { parseTemplate, type Template } from './template/template.ts';

/** How the controller reaches the CA. */
export type CaTarget =
  | { readonly kind: 'socket'; readonly path: string }
  | {
      readonly kind: 'login';
      readonly address: ListenAddress;
      readonly tokenFile: string;
      readonly cluster: string | undefined;
      readonly bootstrap: Bootstrap;
    };

/** The whole configuration of `countersign controller run`; paths are absolute. */
export interface ControllerConfig {
  readonly trustDomain: TrustDomain;
  readonly clusterName: string;
  readonly clusterDomain: string;
  readonly ca: CaTarget;
  readonly kubernetes: { readonly kubeconfig: string | undefined; readonly context: string | undefined };
  /** What the IDs of this controller's entries begin with, the dot included. */
  readonly entryIdPrefix: string;
  readonly parentIdTemplate: Template;
  readonly className: string;
  readonly watchClassless: boolean;
  readonly ignoreNamespaces: readonly RegExp[];
  readonly workloadIdentities: WorkloadIdentityPaths;
  readonly allowAdminIdentities: boolean;
  readonly driftCheck: Duration;
  readonly massDeletion: MassDeletion;
  readonly bundles: BundlesConfig | undefined;
  readonly podCertificates: { readonly signerName: string } | undefined;
  readonly admission: { readonly service: NamespacedName; readonly webhookConfiguration: string } | undefined;
  readonly leaderElection: { readonly namespace: string; readonly name: string };
  readonly listen: { readonly webhook: ListenAddress | undefined; readonly http: ListenAddress | undefined };
  readonly log: { readonly level: LogLevel };
}

/** Below which path the identities of a namespace lie; `{namespace}` stands for its name. */
export interface WorkloadIdentityPaths {
  readonly path: string;
  readonly paths: Readonly<Record<string, string>>;
}

/** Where the trust bundle is put. */
export interface BundlesConfig {
  readonly configMap: { readonly name: string; readonly namespaceSelector: LabelSelector | undefined } | undefined;
  readonly clusterTrustBundle: boolean;
}

export interface NamespacedName {
  readonly namespace: string;
  readonly name: string;
}

const DEFAULT_PARENT = 'spiffe://{{ .TrustDomain }}/spire/agent/k8s_psat/{{ .ClusterName }}/{{ .NodeMeta.UID }}';
const DEFAULT_IGNORED = ['^kube-system$', '^kube-public$', '^countersign-system$'];
const DEFAULT_PATHS: WorkloadIdentityPaths = { path: '/ns/{namespace}', paths: {} };
const DEFAULT_LEVEL: LogLevel = 'info';
const DEFAULT_MASS_DELETION: MassDeletion = 'refuse';
const PREFIX = /^[A-Za-z0-9_-]{1,64}$/;

/** The schema of `controller.yaml`. */
export function controllerConfig(baseDir: string): Decoder<ControllerConfig> {
  const address = listenAddress(baseDir);
  const shape = object({
    trustDomain: map(string(), (text) => parseTrustDomain(text, 'trustDomain')),
    clusterName: optional(string(), 'main'),
    clusterDomain: optional(string({ allowEmpty: true }), 'cluster.local'),
    ca: caShape(baseDir),
    kubernetes: optional(object({ kubeconfig: optional(filePath(baseDir)), context: optional(string()) }), {
      kubeconfig: undefined,
      context: undefined,
    }),
    entryIdPrefix: optional(map(string(), parsePrefix)),
    parentIdTemplate: optional(map(string(), parseParent), parseParent(DEFAULT_PARENT)),
    className: optional(string({ allowEmpty: true }), ''),
    watchClassless: optional(boolean, true),
    ignoreNamespaces: optional(array(map(string(), parsePattern)), DEFAULT_IGNORED.map(parsePattern)),
    workloadIdentities: optional(
      object({
        path: optional(map(string(), parsePath), DEFAULT_PATHS.path),
        paths: optional(record(map(string(), parsePath)), DEFAULT_PATHS.paths),
      }),
      DEFAULT_PATHS,
    ),
    allowAdminIdentities: optional(boolean, false),
    driftCheck: optional(duration, durationOfMs(60_000)),
    massDeletion: optional(literal('refuse', 'allow'), DEFAULT_MASS_DELETION),
    bundles: optional(
      object({
        configMap: optional(object({ name: string(), namespaceSelector: optional(labelSelector.decoder) })),
        clusterTrustBundle: optional(boolean, false),
      }),
    ),
    podCertificates: optional(object({ signerName: string() })),
    admission: optional(object({ service: map(string(), parseNamespacedName), webhookConfiguration: string() })),
    leaderElection: optional(
      object({ namespace: optional(string(), 'countersign-system'), name: optional(string(), 'countersign-controller') }),
      { namespace: 'countersign-system', name: 'countersign-controller' },
    ),
    listen: optional(object({ webhook: optional(address), http: optional(address) }), { webhook: undefined, http: undefined }),
    log: optional(object({ level: optional(literal(...LOG_LEVELS), DEFAULT_LEVEL) }), { level: DEFAULT_LEVEL }),
  });
  return map(shape, (given) => {
    if (given.admission !== undefined && given.listen.webhook === undefined) {
      throw new IdentityError('invalid_argument', 'admission needs listen.webhook', { field: 'listen.webhook' });
    }
    return { ...given, entryIdPrefix: given.entryIdPrefix ?? parsePrefix(given.clusterName) };
  });
}

function caShape(baseDir: string): Decoder<CaTarget> {
  const address = listenAddress(baseDir);
  const shape = object({
    socket: optional(address),
    address: optional(address),
    tokenFile: optional(filePath(baseDir)),
    cluster: optional(string()),
    bootstrap: optional(bootstrapShape(baseDir)),
  });
  return map(shape, ({ socket, address: remote, tokenFile, cluster, bootstrap }): CaTarget => {
    if (socket !== undefined) {
      if (remote !== undefined) throw invalid('give either socket or address');
      if (socket.kind !== 'unix') throw invalid('socket must be unix:PATH');
      return { kind: 'socket', path: socket.path };
    }
    if (remote === undefined) throw invalid('give either socket (unix:PATH) or address (host:port)');
    if (tokenFile === undefined || bootstrap === undefined) throw invalid('address goes with tokenFile and bootstrap');
    return { kind: 'login', address: remote, tokenFile, cluster, bootstrap };
  });
}

function parsePrefix(text: string): string {
  if (PREFIX.test(text)) return `${text}.`;
  throw invalid(`"${text}" cannot begin the IDs of entries: letters, digits, dashes and underscores, 64 at most`);
}

function parseParent(text: string): Template {
  return parseTemplate(text, 'parentIdTemplate');
}

function parsePattern(text: string): RegExp {
  try {
    // Not anchored, as in SPIRE's controller manager: who means the whole name writes ^ and $.
    return new RegExp(text);
  } catch (cause) {
    throw new IdentityError('invalid_argument', `"${text}" is no regular expression`, { cause });
  }
}

function parsePath(text: string): string {
  // What is put in for {namespace} is a DNS label, which is a path segment.
  createSpiffeId(parseTrustDomain('example.org'), text.replaceAll('{namespace}', 'ns'), 'path');
  if (text !== '' && text !== '/spire' && !text.startsWith('/spire/')) return text;
  throw invalid('must be a path such as /ns/{namespace}, and not below /spire');
}

function parseNamespacedName(text: string): NamespacedName {
  const [namespace = '', name = '', ...more] = text.split('/');
  if (namespace !== '' && name !== '' && more.length === 0) return { namespace, name };
  throw invalid('expected namespace/name, such as countersign-system/countersign-controller');
}

function invalid(message: string): IdentityError {
  return new IdentityError('invalid_argument', message);
}

/** The path below which the identities of a namespace lie, such as `/ns/payments`. */
export function namespacePathOf({ path, paths }: WorkloadIdentityPaths, namespace: string): string {
  const own = Object.hasOwn(paths, namespace) ? paths[namespace] : undefined;
  return (own ?? path).replaceAll('{namespace}', namespace);
}

/**
 * Reads a configuration that is already parsed from YAML.
 *
 * @throws DecodeError that lists every fault with its path
 */
export function parseControllerConfig(input: unknown, baseDir: string): ControllerConfig {
  return decode(controllerConfig(baseDir), input);
}
