/** The names by which a Service is called: short ones within its namespace, long ones from everywhere. */
export function dnsNamesOfService(service: string, namespace: string, clusterDomain: string): readonly string[] {
  const names = [service, `${service}.${namespace}`, `${service}.${namespace}.svc`];
  return clusterDomain === '' ? names : [...names, `${service}.${namespace}.svc.${clusterDomain}`];
}
