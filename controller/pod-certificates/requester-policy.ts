/** What {@link requesterPolicy} is made for. */
export interface RequesterPolicyOptions {
  /** Of the policy and of its binding. */
  readonly name: string;
  /** Such as `countersign.dev/svid`. */
  readonly signerName: string;
  readonly labels?: Readonly<Record<string, string>>;
}

const API_VERSION = 'admissionregistration.k8s.io/v1';

const OWN_NODE =
  "request.userInfo.username == 'system:node:' + object.spec.nodeName && 'system:nodes' in request.userInfo.groups";

/**
 * A ValidatingAdmissionPolicy and its binding that let nobody but a node's own kubelet ask our signer for a certificate of a pod
 * on that node. The request does not record who made it, so the signer cannot check that itself. The API server's NodeRestriction
 * plug-in says as much of kubelets, but nothing of others who may create requests; and it may be off.
 */
export function requesterPolicy({ name, signerName, labels }: RequesterPolicyOptions): readonly Record<string, unknown>[] {
  const metadata = { name, ...(labels === undefined ? {} : { labels }) };
  const rule = {
    apiGroups: ['certificates.k8s.io'],
    apiVersions: ['*'],
    operations: ['CREATE'],
    resources: ['podcertificaterequests'],
  };
  const policy = {
    apiVersion: API_VERSION,
    kind: 'ValidatingAdmissionPolicy',
    metadata,
    spec: {
      failurePolicy: 'Fail',
      matchConstraints: { resourceRules: [rule] },
      matchConditions: [{ name: 'our-signer', expression: `object.spec.signerName == '${signerName}'` }],
      validations: [
        {
          expression: OWN_NODE,
          message: `only the kubelet of the pod's node may ask ${signerName} for the pod's certificate`,
          reason: 'Forbidden',
        },
      ],
    },
  };
  const binding = {
    apiVersion: API_VERSION,
    kind: 'ValidatingAdmissionPolicyBinding',
    metadata,
    spec: { policyName: name, validationActions: ['Deny'] },
  };
  return [policy, binding];
}
