import type { Clock } from '../core/clock.ts';
import { literal, map, object, optional, string, type Decoder } from '../core/decode.ts';
import { IdentityError } from '../core/errors.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import { filePath } from './config-file.ts';
import type { InClusterEnvironment } from './kubernetes/access.ts';
import { BUNDLE_PEM_KEY } from './kubernetes/bundle-config-map.ts';
import type { Logger } from './log.ts';

/** A ConfigMap that holds a bundle. */
export interface BundleConfigMap {
  readonly namespace: string;
  readonly name: string;
  readonly key: string;
  /** How to reach the API server; in a pod nothing is needed. */
  readonly kubeconfigFile: string | undefined;
}

/** Where a process reads the bundle that it trusts before it has heard from the CA. */
export type Bootstrap =
  | { readonly kind: 'file'; readonly file: string }
  | { readonly kind: 'url'; readonly url: URL; readonly sha256Hex: string | undefined }
  /** Read from the Kubernetes API; waited for until it exists. */
  | ({ readonly kind: 'configMap' } & BundleConfigMap)
  /** Whoever answers is trusted. */
  | { readonly kind: 'insecure' };

/** What reading the bundle needs besides the configuration. */
export interface BootstrapContext {
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where the API server of this process's pod is; undefined outside a cluster. */
  readonly inCluster?: InClusterEnvironment | undefined;
  /** Ends the wait for a ConfigMap. */
  readonly signal?: AbortSignal | undefined;
}

/** The `bootstrap` part of a configuration; `baseDir` is the folder that relative paths start from. */
export function bootstrapShape(baseDir: string): Decoder<Bootstrap> {
  return map(
    object({
      file: optional(filePath(baseDir)),
      url: optional(map(string(), parseUrl)),
      sha256: optional(map(string(), parseSha256)),
      configMap: optional(map(string(), parseConfigMapName)),
      key: optional(string()),
      kubeconfig: optional(filePath(baseDir)),
      insecure: optional(literalTrue),
    }),
    chooseBootstrap,
  );
}

const literalTrue: Decoder<true> = {
  read(input, path, faults) {
    if (input === true) return true;
    return map<string, true>(literal('true'), () => true).read(input, path, faults);
  },
};

interface Given {
  readonly file: string | undefined;
  readonly url: URL | undefined;
  readonly sha256: string | undefined;
  readonly configMap: { readonly namespace: string; readonly name: string } | undefined;
  readonly key: string | undefined;
  readonly kubeconfig: string | undefined;
  readonly insecure: true | undefined;
}

function chooseBootstrap({ file, url, sha256, configMap, key, kubeconfig, insecure }: Given): Bootstrap {
  const ways = [file, url, configMap, insecure].filter((way) => way !== undefined);
  if (ways.length !== 1) throw invalid('give exactly one of file, url, configMap or insecure: true');
  if (sha256 !== undefined && url === undefined) throw invalid('sha256 goes with url only');
  if (configMap === undefined && (key ?? kubeconfig) !== undefined) throw invalid('key and kubeconfig go with configMap only');
  if (file !== undefined) return { kind: 'file', file };
  if (configMap !== undefined) return { kind: 'configMap', ...configMap, key: key ?? BUNDLE_PEM_KEY, kubeconfigFile: kubeconfig };
  if (url === undefined) return { kind: 'insecure' };
  if (url.protocol === 'https:' || sha256 !== undefined) return { kind: 'url', url, sha256Hex: sha256 };
  throw invalid('a bundle over plain http can be forged; use https, or pin the document with sha256');
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw invalid('expected an https URL');
}

function parseSha256(text: string): string {
  const hex = text.replace(/^sha256:/, '').toLowerCase();
  if (/^[0-9a-f]{64}$/.test(hex)) return hex;
  throw invalid('expected 64 hexadecimal digits, as sha256sum prints them');
}

function parseConfigMapName(text: string): { readonly namespace: string; readonly name: string } {
  const [namespace = '', name = '', ...more] = text.split('/');
  if (namespace !== '' && name !== '' && more.length === 0) return { namespace, name };
  throw invalid('expected namespace/name, such as countersign-system/countersign-bundle');
}

function invalid(message: string): IdentityError {
  return new IdentityError('invalid_argument', message);
}
