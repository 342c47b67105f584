import type { V1SubjectAccessReview } from '@kubernetes/client-node';

import type { KubeObject } from '../../runtime/kubernetes/object.ts';
import { SUBJECT_ACCESS_REVIEWS } from '../../runtime/kubernetes/resource-types.ts';
import type { ClusterAccess } from './cluster-access.ts';
import type { Finding } from './finding.ts';

interface Permission {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly name?: string;
}

const PODS = { group: '', resource: 'pods' } as const;
/** One permission of each binding that the manifests make: enough to see that a binding or its role is gone. */
const NEEDED = {
  ca: [{ verb: 'create', group: 'authentication.k8s.io', resource: 'tokenreviews' }],
  controller: [
    { verb: 'list', ...PODS },
    { verb: 'patch', group: 'countersign.dev', resource: 'clusterworkloadidentities/status' },
    { verb: 'sign', group: 'certificates.k8s.io', resource: 'signers', name: 'countersign.dev/svid' },
  ],
  agent: [
    { verb: 'list', ...PODS },
    { verb: 'watch', ...PODS },
  ],
} as const satisfies Readonly<Record<string, readonly Permission[]>>;

/** Whether the service accounts may still do what their processes need. A watch that is open goes on after its role is gone. */
export async function accessFindings(cluster: ClusterAccess): Promise<readonly Finding[]> {
  const found = await Promise.all(Object.entries(NEEDED).map(([part, needed]) => missingOf(cluster, { part, needed })));
  const missing = found.flat();
  return missing.length > 0 ? missing : [{ level: 'ok', subject: 'roles', text: 'the service accounts may do what they need' }];
}

async function missingOf(
  cluster: ClusterAccess,
  { part, needed }: { readonly part: string; readonly needed: readonly Permission[] },
): Promise<readonly Finding[]> {
  const { systemNamespace, agentNamespace } = cluster.installation;
  const account = `system:serviceaccount:${part === 'agent' ? agentNamespace : systemNamespace}:countersign-${part}`;
  const verdicts = await Promise.all(needed.map((permission) => isAllowed(cluster, { account, permission })));
  return needed
    .filter((_, index) => verdicts[index] !== true)
    .map(({ verb, resource, group }) => ({
      level: 'error' as const,
      subject: `role of the ${part}`,
      text: `${account} may not ${verb} ${resource}${group === '' ? '' : `.${group}`}`,
      remedy: 'kubectl apply -k your overlay: its roles or their bindings are not there',
    }));
}

async function isAllowed(
  { client }: ClusterAccess,
  { account, permission }: { readonly account: string; readonly permission: Permission },
): Promise<boolean> {
  const [resource = '', subresource] = permission.resource.split('/');
  const { verb, group, name } = permission;
  const resourceAttributes = {
    verb,
    group,
    resource,
    ...(subresource === undefined ? {} : { subresource }),
    ...(name === undefined ? {} : { name }),
  };
  const review = { metadata: {}, spec: { user: account, resourceAttributes } };
  const { status } = await client.create<V1SubjectAccessReview & KubeObject>(SUBJECT_ACCESS_REVIEWS, review);
  return status?.allowed === true;
}
