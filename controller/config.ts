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
  refine,
  string,
  type Decoder,
  type Fault,
} from '../core/decode.ts';
import { durationOfMs, type Duration } from '../core/duration.ts';
import { IdentityError } from '../core/errors.ts';
import { labelSelector, type LabelSelector } from '../policy/schema/label-selector.ts';
import { bootstrapShape, type Bootstrap } from '../runtime/bootstrap.ts';
import { filePath, listenAddress, type ListenAddress } from '../runtime/config-file.ts';
import { parseDnsLabel, parseDnsSubdomain, parseSignerName } from '../runtime/kubernetes/names.ts';
import { LOG_LEVELS, type LogLevel } from '../runtime/log.ts';
import { createSpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain, type TrustDomain } from '../spiffe/trust-domain.ts';
import type { MassDeletion } from './entries/held-deletions.ts';
import { pathFaults, type WorkloadIdentityPaths } from './namespace-paths.ts';
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
  const subdomain = map(string(), parseDnsSubdomain);
  const shape = object({
    trustDomain: map(string(), (text) => parseTrustDomain(text, 'trustDomain')),
    clusterName: optional(map(string(), parseClusterName), 'main'),
    clusterDomain: optional(string({ allowEmpty: true }), 'cluster.local'),
    ca: caShape(baseDir),
    kubernetes: optional(object({ kubeconfig: optional(filePath(baseDir)), context: optional(string()) }), {
      kubeconfig: undefined,
      context: undefined,
    }),
    entryIdPrefix: optional(map(string(), parsePrefix)),
    parentIdTemplate: optional(string(), DEFAULT_PARENT),
    className: optional(string({ allowEmpty: true }), ''),
    watchClassless: optional(boolean, true),
    ignoreNamespaces: optional(array(map(string(), parsePattern)), DEFAULT_IGNORED.map(parsePattern)),
    workloadIdentities: optional(
      refine(
        object({
          path: optional(map(string(), parsePath), DEFAULT_PATHS.path),
          paths: optional(record(map(string(), parsePath)), DEFAULT_PATHS.paths),
        }),
        pathFaults,
      ),
      DEFAULT_PATHS,
    ),
    allowAdminIdentities: optional(boolean, false),
    driftCheck: optional(map(duration, requireInterval), durationOfMs(60_000)),
    massDeletion: optional(literal('refuse', 'allow'), DEFAULT_MASS_DELETION),
    bundles: optional(
      object({
        configMap: optional(object({ name: subdomain, namespaceSelector: optional(labelSelector.decoder) })),
        clusterTrustBundle: optional(boolean, false),
      }),
    ),
    podCertificates: optional(object({ signerName: map(string(), parseSignerName) })),
    admission: optional(object({ service: map(string(), parseNamespacedName), webhookConfiguration: subdomain })),
    leaderElection: optional(
      object({
        namespace: optional(map(string(), parseDnsLabel), 'countersign-system'),
        name: optional(subdomain, 'countersign-controller'),
      }),
      { namespace: 'countersign-system', name: 'countersign-controller' },
    ),
    listen: optional(object({ webhook: optional(address), http: optional(address) }), { webhook: undefined, http: undefined }),
    log: optional(object({ level: optional(literal(...LOG_LEVELS), DEFAULT_LEVEL) }), { level: DEFAULT_LEVEL }),
  });
  return map(refine(shape, faultsTogether), (given) => ({
    ...given,
    parentIdTemplate: parseParent(given.parentIdTemplate, given.trustDomain),
    entryIdPrefix: given.entryIdPrefix ?? parsePrefix(given.clusterName),
  }));
}

interface Related {
  readonly trustDomain: TrustDomain;
  readonly clusterName: string;
  readonly entryIdPrefix: string | undefined;
  readonly parentIdTemplate: string;
  readonly admission: unknown;
  readonly listen: { readonly webhook: ListenAddress | undefined };
}

/** What is wrong with fields because of what others say. */
function faultsTogether(given: Related): readonly Fault[] {
  const { trustDomain, clusterName, entryIdPrefix, parentIdTemplate, admission, listen } = given;
  const isAlone = admission !== undefined && listen.webhook === undefined;
  return [
    ...(isAlone ? [{ path: 'listen.webhook', message: 'must be given, because admission is' }] : []),
    ...faultOf('parentIdTemplate', () => parseParent(parentIdTemplate, trustDomain)),
    ...(entryIdPrefix === undefined ? faultOf('clusterName', () => prefixOfCluster(clusterName)) : []),
  ];
}

function faultOf(path: string, check: () => unknown): readonly Fault[] {
  try {
    check();
    return [];
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    return [{ path, message: error.message.replace(`${path}: `, '') }];
  }
}

function prefixOfCluster(clusterName: string): string {
  if (PREFIX.test(clusterName)) return parsePrefix(clusterName);
  throw invalid(`"${clusterName}" cannot begin the IDs of entries as well; give an entryIdPrefix`);
}

function parseClusterName(text: string): string {
  // It is a segment of the agents' IDs.
  createSpiffeId(parseTrustDomain('example.org'), [text], 'clusterName');
  return text;
}

const LEAST_INTERVAL_MS = 100;

function requireInterval(interval: Duration): Duration {
  if (interval.ms >= LEAST_INTERVAL_MS) return interval;
  throw invalid(`must be ${LEAST_INTERVAL_MS}ms at least; each check asks the CA for all entries`);
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

const DEFAULT_PARENT_TEMPLATE = parseTemplate(DEFAULT_PARENT, 'parentIdTemplate');

function parseParent(text: string, { name }: TrustDomain): Template {
  if (text === DEFAULT_PARENT) return DEFAULT_PARENT_TEMPLATE;
  const template = parseTemplate(text, 'parentIdTemplate');
  // What an action makes of the beginning is known only with a node.
  const [literal = ''] = text.split('{{');
  const [, authority] = /^spiffe:\/\/([^/]+)\//.exec(literal) ?? [];
  const isOurs = authority === undefined ? 'spiffe://'.startsWith(literal.slice(0, 9)) : authority === name;
  if (isOurs && (authority !== undefined || text.includes('{{'))) return template;
  throw invalid(`must be a SPIFFE ID of the trust domain ${name}; begin with spiffe://{{ .TrustDomain }}/`);
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
  if (namespace !== '' && name !== '' && more.length === 0) {
    return { namespace: parseDnsLabel(namespace), name: parseDnsLabel(name) };
  }
  throw invalid('expected namespace/name, such as countersign-system/countersign-controller');
}

function invalid(message: string): IdentityError {
  return new IdentityError('invalid_argument', message);
}

/**
 * Reads a configuration that is already parsed from YAML.
 *
 * @throws DecodeError that lists every fault with its path
 */
export function parseControllerConfig(input: unknown, baseDir: string): ControllerConfig {
  return decode(controllerConfig(baseDir), input);
}
