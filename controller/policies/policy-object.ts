import { OWNER_LABEL } from '../../policy/document-owner.ts';
import type { PolicyName } from '../../policy/model.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import type { Policy } from '../../policy/policy.ts';
import { parseRequestAuthentication, type RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import type { ResourceMeta } from '../../policy/schema/resource-meta.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';

/** Which resource, as `countersign.policy.v1` names it; `namespace` is empty for a ClusterAuthorizationPolicy. */
export interface PolicyResourceName {
  readonly kind: PolicyName['kind'] | 'RequestAuthentication';
  readonly namespace: string;
  readonly name: string;
}

/** An object of one of the kinds of authorization, read. */
export type PolicyObject = {
  readonly name: PolicyResourceName;
  readonly meta: ResourceMeta;
} & ({ readonly policy: Policy } | { readonly policy: undefined; readonly authentication: RequestAuthentication });

/** Reads an object of one of the three kinds. @throws DecodeError that names every faulty field */
export function readPolicyObject(object: { readonly kind?: unknown }): PolicyObject {
  if (object.kind !== 'RequestAuthentication') {
    const policy = parsePolicy(object);
    return { name: policy.name, meta: policy.meta, policy };
  }
  const authentication = parseRequestAuthentication(object);
  const { meta } = authentication;
  const name = { kind: object.kind, namespace: meta.namespace, name: meta.name } as const;
  return { name, meta, policy: undefined, authentication };
}

/**
 * The document of an object as it goes to the CA. Of its metadata only what tells it apart goes along: no labels and annotations,
 * which may be large, may be anything, and change without the policy.
 *
 * @param owner the controller whose it is, such as `main`
 */
export function documentOf(object: PolicyObject, owner: string): string {
  const { name, namespace, uid, generation, createdAtMs } = object.meta;
  const labels = { [OWNER_LABEL]: owner };
  const meta = { name, namespace, uid, generation, createdAtMs, deleting: false, labels, annotations: {} };
  if (object.policy !== undefined) return encodePolicy({ ...object.policy, meta });
  return encodeRequestAuthentication({ ...object.authentication, meta });
}
