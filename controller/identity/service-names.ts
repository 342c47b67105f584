import { IdentityError } from '../../core/errors.ts';

/** The names by which a Service is called: short ones within its namespace, long ones from everywhere. */
export function dnsNamesOfService(service: string, namespace: string, clusterDomain: string): readonly string[] {
  const names = [service, `${service}.${namespace}`, `${service}.${namespace}.svc`];
  return clusterDomain === '' ? names : [...names, `${service}.${namespace}.svc.${clusterDomain}`];
}

/** Whose DNS names an application team may claim. */
export interface OwnServices {
  readonly namespace: string;
  readonly clusterDomain: string;
  readonly hasService: (name: string) => boolean;
  readonly podName: string;
}

/**
 * Checks that a name is one of the namespace's own Services, or of the pod behind one (`web-0.web.payments.svc`).
 *
 * @throws IdentityError `permission_denied`
 */
export function checkOwnServiceName(name: string, own: OwnServices, field: string): void {
  const labels = name.split('.');
  const candidates = labels[0] === own.podName ? [labels, labels.slice(1)] : [labels];
  if (candidates.some((rest) => isServiceName(rest, own))) return;
  throw new IdentityError(
    'permission_denied',
    `"${name}" is no name of a Service in namespace ${own.namespace}; a WorkloadIdentity may only name its own namespace's Services`,
    { field },
  );
}

function isServiceName([service, ...rest]: readonly string[], { namespace, clusterDomain, hasService }: OwnServices): boolean {
  if (service === undefined || !hasService(service)) return false;
  const suffix = rest.join('.');
  return suffix === '' || dnsNamesOfService('', namespace, clusterDomain).includes(`.${suffix}`);
}
