import { IdentityError } from '../../core/errors.ts';
import { createSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Cluster } from './cluster.ts';
import { LOGIN_AUDIENCE, type AdminLoginConfig, type Clusters, type LoginClusterConfig } from './config.ts';
import { verifyPodToken } from './pod-token.ts';

/** Somebody who proved to be an allowed service account. */
export interface LoggedIn extends AdminLoginConfig {
  readonly spiffeId: SpiffeId;
  /** The pod, for logs. */
  readonly pod: { readonly cluster: string; readonly namespace: string; readonly name: string };
}

type LoginCluster = LoginClusterConfig & { readonly cluster: Cluster };

/** Which service accounts may log in, as what, and by which SPIFFE ID they are known from then on. */
export class AdminLogins {
  readonly #trustDomain: TrustDomain;
  readonly #clusters: Clusters<LoginCluster>;
  readonly #byId: ReadonlyMap<string, AdminLoginConfig>;

  constructor(trustDomain: TrustDomain, clusters: Clusters<LoginCluster>) {
    this.#trustDomain = trustDomain;
    this.#clusters = clusters;
    this.#byId = new Map(
      [...clusters].flatMap(([cluster, { serviceAccounts }]) =>
        [...serviceAccounts].map(([account, login]) => [loginId(trustDomain, cluster, account).toString(), login] as const),
      ),
    );
  }

  /** What is configured for the login with this ID; undefined when it is none, or one that is not configured any more. */
  of(id: SpiffeId): AdminLoginConfig | undefined {
    return this.#byId.get(id.toString());
  }

  /**
   * Verifies the token of a pod.
   *
   * @param clusterName may be empty when only one cluster is configured
   * @throws IdentityError as {@link verifyPodToken}; `failed_precondition` when no login is configured for the cluster
   */
  async verify(clusterName: string, token: string): Promise<LoggedIn> {
    const { cluster, serviceAccounts } = this.#cluster(clusterName);
    const admits = (account: string): boolean => serviceAccounts.has(account);
    const { pod } = await verifyPodToken(cluster, { token, audiences: [LOGIN_AUDIENCE], admits });
    const account = `${pod.namespace}:${pod.serviceAccount}`;
    const login = serviceAccounts.get(account);
    if (login === undefined) throw new IdentityError('internal', 'the service account is not configured');
    const spiffeId = loginId(this.#trustDomain, cluster.name, account);
    return { ...login, spiffeId, pod: { cluster: cluster.name, namespace: pod.namespace, name: pod.podName } };
  }

  #cluster(name: string): LoginCluster {
    const [only, ...more] = this.#clusters.values();
    const found = name === '' && more.length === 0 ? only : this.#clusters.get(name);
    if (found !== undefined) return found;
    if (only === undefined) throw new IdentityError('failed_precondition', 'this CA has no adminLogin configured');
    const which = name === '' ? 'name the cluster' : `no login is configured for cluster ${JSON.stringify(name.slice(0, 64))}`;
    throw new IdentityError('failed_precondition', `${which}; adminLogin.clusters of the CA lists those that it knows`);
  }
}

/** No entry can have such an ID, since `/spire` is reserved. */
function loginId(trustDomain: TrustDomain, cluster: string, account: string): SpiffeId {
  return createSpiffeId(trustDomain, ['spire', 'admin', cluster, ...account.split(':')], 'cluster');
}
