import { isIP } from 'node:net';
import { resolve } from 'node:path';
import type { Clock } from '../../../core/clock.ts';
import { boolean, type Decoded, duration, integer, literal, map, object, optional, string } from '../../../core/decode.ts';
import { IdentityError } from '../../../core/errors.ts';
import { filePath } from '../../../runtime/config-file.ts';
import { inClusterEnvironment } from '../../../runtime/kubernetes/access.ts';
import { openKubeClient } from '../../../runtime/kubernetes/client.ts';
import type { Logger } from '../../../runtime/log.ts';
import type { WorkloadAttestor } from '../attestor.ts';
import { createK8sAttestor } from './attestor.ts';
import { Kubelet, type KubeletCredentials, type KubeletOptions } from './kubelet.ts';
import { KubeletPods } from './kubelet-pods.ts';
import { watchNamespaces, watchPods } from './watched.ts';

const ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';
const SECURE_PORT = 10_250;
const NODE_NAME_ENV = 'MY_NODE_NAME';
const WAIT_FOR_MS = 30_000;
const port = integer({ min: 1, max: 65_535 });

/** The schema of `workloadAttestors.k8s` in `agent.yaml`; the names are SPIRE's in camel case where it has the same thing. */
export function k8sAttestorConfig(baseDir: string) {
  const file = filePath(baseDir);
  return map(
    object({
      source: optional(literal('apiServer', 'kubelet'), 'apiServer'),
      nodeName: optional(string()),
      nodeNameEnv: optional(string(), NODE_NAME_ENV),
      namespaceLabels: optional(boolean),
      disableContainerSelectors: optional(boolean, false),
      waitFor: optional(duration),
      kubeconfig: optional(file),
      kubelet: optional(
        object({
          host: optional(string()),
          securePort: optional(port),
          readOnlyPort: optional(port),
          caFile: optional(file),
          skipVerification: optional(boolean, false),
          tokenFile: optional(file),
          certFile: optional(file),
          keyFile: optional(file),
          anonymous: optional(boolean, false),
        }),
      ),
    }),
    checkSource,
  );
}

/** How the `k8s` attestor works. */
export type K8sAttestorConfig = Decoded<ReturnType<typeof k8sAttestorConfig>>;

interface Checked {
  readonly source: 'apiServer' | 'kubelet';
  readonly kubelet: KubeletSettings | undefined;
}

interface KubeletSettings {
  readonly host: string | undefined;
  readonly securePort: number | undefined;
  readonly readOnlyPort: number | undefined;
  readonly caFile: string | undefined;
  readonly skipVerification: boolean;
  readonly tokenFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly anonymous: boolean;
}

function checkSource<T extends Checked>(config: T): T {
  const { source, kubelet } = config;
  if (kubelet === undefined) return config;
  if (source !== 'kubelet') throw invalid('kubelet', 'goes with source: kubelet only');
  const { securePort, readOnlyPort, certFile, keyFile, tokenFile, anonymous, caFile, skipVerification } = kubelet;
  if (securePort !== undefined && readOnlyPort !== undefined)
    throw invalid('kubelet', 'give securePort or readOnlyPort, not both');
  if ((certFile === undefined) !== (keyFile === undefined)) throw invalid('kubelet', 'certFile and keyFile go together');
  const proofs = [certFile !== undefined, tokenFile !== undefined, anonymous].filter(Boolean).length;
  if (proofs > 1) throw invalid('kubelet', 'give one of tokenFile, certFile with keyFile, or anonymous: true');
  if (caFile !== undefined && skipVerification) throw invalid('kubelet', 'caFile has no meaning with skipVerification: true');
  if (readOnlyPort !== undefined && (proofs > 0 || caFile !== undefined || skipVerification)) {
    throw invalid('kubelet', 'the read-only port is plain HTTP: credentials and authorities have no meaning there');
  }
  return config;
}

function invalid(field: string, message: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}

/** What the attestor needs besides its configuration. */
export interface K8sSurroundings {
  readonly clock: Clock;
  readonly log: Logger;
  /** The process's own: it names the node (`nodeNameEnv`) and the API server of the cluster that the agent runs in. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * The `k8s` attestor of a configuration. It begins to follow the API server at once.
 *
 * @throws IdentityError `invalid_argument` when the node's name is needed and not known
 */
export function openK8sAttestor(config: K8sAttestorConfig, { clock, log, environment }: K8sSurroundings): WorkloadAttestor {
  const { source, disableContainerSelectors, kubeconfig } = config;
  const fromApiServer = source === 'apiServer';
  const nodeName = config.nodeName ?? (environment[config.nodeNameEnv] || undefined);
  const namesWanted = config.namespaceLabels ?? fromApiServer;
  const file = kubeconfig === undefined ? {} : { kubeconfigFile: kubeconfig };
  const client =
    fromApiServer || namesWanted
      ? openKubeClient({ ...file, inCluster: inClusterEnvironment(environment), clock, log })
      : undefined;
  // Whoever waits for a container is told why there is no client.
  client?.catch((err: unknown) => log.error({ err }, 'no client for the api server'));
  const watched = client && { client, clock, log };
  return createK8sAttestor({
    clock,
    pods:
      fromApiServer && watched !== undefined
        ? watchPods(watched, requireNodeName(nodeName, config.nodeNameEnv))
        : new KubeletPods(new Kubelet(kubeletOptions(config.kubelet, nodeName, clock)), clock),
    namespaces: namesWanted && watched !== undefined ? watchNamespaces(watched) : undefined,
    disableContainerSelectors,
    onClose: () => void client?.then((opened) => opened[Symbol.dispose]()).catch(() => {}),
    waitForMs: config.waitFor?.ms ?? WAIT_FOR_MS,
  });
}

function requireNodeName(nodeName: string | undefined, variable: string): string {
  if (nodeName !== undefined && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(nodeName)) return nodeName;
  const found = nodeName === undefined ? 'is not set' : `is "${nodeName}", which is no name of a node`;
  throw new IdentityError(
    'invalid_argument',
    `workloadAttestors.k8s: the name of this node ${found}; set nodeName, or the environment variable ${variable} from spec.nodeName`,
  );
}

function kubeletOptions(settings: KubeletSettings | undefined, nodeName: string | undefined, clock: Clock): KubeletOptions {
  // Without a name the agent shares the host's network, where the kubelet is on the loopback address.
  const host = settings?.host ?? nodeName ?? '127.0.0.1';
  if (settings?.readOnlyPort !== undefined) {
    return { clock, host: settings.host ?? '127.0.0.1', port: settings.readOnlyPort, tls: undefined };
  }
  const caFile = settings?.skipVerification ? undefined : (settings?.caFile ?? resolve(ACCOUNT_FOLDER, 'ca.crt'));
  const serverName = nodeName ?? (isIP(host) === 0 ? host : undefined);
  return {
    clock,
    host,
    port: settings?.securePort ?? SECURE_PORT,
    tls: { caFile, serverName, credentials: credentialsOf(settings) },
  };
}

function credentialsOf(settings: KubeletSettings | undefined): KubeletCredentials {
  const { anonymous, certFile, keyFile, tokenFile } = settings ?? {};
  if (anonymous) return { kind: 'none' };
  if (certFile !== undefined && keyFile !== undefined) return { kind: 'certificate', certFile, keyFile };
  return { kind: 'token', file: tokenFile ?? resolve(ACCOUNT_FOLDER, 'token') };
}
