import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Template } from '../template/template.ts';

/** What the configuration says about identities. */
export interface IdentitySettings {
  readonly trustDomain: TrustDomain;
  readonly clusterName: string;
  readonly clusterDomain: string;
  /** Rendered with the node alone. */
  readonly parentIdTemplate: Template;
  readonly className: string;
  /** Declarations without a class are ours as well. */
  readonly watchClassless: boolean;
  /** A namespace that one of them matches anywhere in its name is left alone, as SPIRE's controller manager does. */
  readonly ignoreNamespaces: readonly RegExp[];
  /** The path below which a namespace's own identities lie, such as `/ns/payments`. */
  readonly namespacePath: (namespace: string) => string;
  readonly allowAdminIdentities: boolean;
  /** Whether entries say what their workloads are in Kubernetes: a SPIRE server would not keep that. */
  readonly declaresWorkloads: boolean;
}

/** Whether a declaration of this class is ours. */
export function isOurClass(
  className: string | undefined,
  settings: Pick<IdentitySettings, 'className' | 'watchClassless'>,
): boolean {
  const given = className ?? '';
  return given === settings.className || (given === '' && settings.watchClassless);
}
