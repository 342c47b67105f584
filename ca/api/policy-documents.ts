import { DecodeError } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { ownerOfDocument } from '../../policy/document-owner.ts';
import { expressionFaults } from '../../policy/expression-faults.ts';
import type { Policy } from '../../policy/policy.ts';
import {
  decodePolicy,
  decodeRequestAuthentication,
  encodePolicy,
  encodeRequestAuthentication,
} from '../../policy/wire-policy.ts';
import type { ResourceMeta } from '../../policy/schema/resource-meta.ts';
import type { Resource, ResourceName } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { POLICY_RESOURCE_KINDS } from '../model.ts';
import type { PolicyResource, PolicyResourceKind } from '../model.ts';
import type { PolicyKey } from '../store/store.ts';

/**
 * A document is not larger. What an API server stores is smaller (1.5 MiB is the most that etcd takes unless told otherwise), so whatever
 * it accepts fits; and a part of a stream with one such document in it is below the 4 MiB that clients take.
 */
export const MAX_DOCUMENT_BYTES = 2 * 1024 * 1024;

/** As in Kubernetes: a name is a DNS subdomain, a namespace a DNS label. */
const MAX_NAME = 253;
const MAX_NAMESPACE = 63;

/**
 * Reads which resource is meant.
 *
 * @param field where it stands in the request, such as `names[3]`
 * @throws IdentityError `invalid_argument` that names the field
 */
export function policyKeyFromProto(name: ResourceName | undefined, field: string): PolicyKey {
  if (name === undefined) throw new IdentityError('invalid_argument', 'must be set', { field });
  const kind = kindOf(name.kind, `${field}.kind`);
  const isClusterWide = kind === 'ClusterAuthorizationPolicy';
  if (isClusterWide && name.namespace !== '') throw faulty(`${field}.namespace`, `must be empty: a ${kind} is of no namespace`);
  if (!isClusterWide) checkName(name.namespace, `${field}.namespace`, MAX_NAMESPACE);
  checkName(name.name, `${field}.name`, MAX_NAME);
  return { kind, namespace: name.namespace, name: name.name };
}

/** Reads a kind of policy resource. @throws IdentityError `invalid_argument` */
export function kindOf(text: string, field: string): PolicyResourceKind {
  const kind = POLICY_RESOURCE_KINDS.find((each) => each === text);
  if (kind === undefined) throw faulty(field, `must be one of ${POLICY_RESOURCE_KINDS.join(', ')}`);
  return kind;
}

/**
 * Reads a resource as strictly as any other input. What comes out is written anew, so that equal resources are equal texts.
 *
 * @throws IdentityError `invalid_argument` that names the field, such as `resources[3].document.spec.rules[0].to[0].ports`
 */
export function policyFromProto(resource: Resource, field: string): PolicyResource {
  return readPolicyResource(resource, field).resource;
}

/** A resource with the policy that it is, where it is one. */
export interface ReadPolicyResource {
  readonly resource: PolicyResource;
  /** Absent for a RequestAuthentication. */
  readonly policy: Policy | undefined;
}

/** The same as {@link policyFromProto}, with the policy as it was read. */
export function readPolicyResource({ name, document }: Resource, field: string): ReadPolicyResource {
  const key = policyKeyFromProto(name, `${field}.name`);
  const at = `${field}.document`;
  const bytes = Buffer.byteLength(document);
  if (bytes > MAX_DOCUMENT_BYTES) {
    throw faulty(at, `must have at most ${MAX_DOCUMENT_BYTES} bytes; it has ${bytes}: make several policies of it`);
  }
  const { meta, kind, text, policy } = below(at, () => read(key.kind, document));
  for (const [part, said, found] of [
    ['kind', key.kind, kind],
    ['metadata.namespace', key.namespace, meta.namespace],
    ['metadata.name', key.name, meta.name],
  ] as const) {
    if (said !== found) throw faulty(`${at}.${part}`, `is "${found}", but the resource is named "${said}"`);
  }
  return { resource: { ...key, generation: meta.generation, document: text }, policy };
}

interface Read {
  readonly kind: PolicyResourceKind;
  readonly meta: ResourceMeta;
  readonly text: string;
  readonly policy: Policy | undefined;
}

function read(kind: PolicyResourceKind, document: string): Read {
  if (kind === 'RequestAuthentication') {
    const authentication = decodeRequestAuthentication(document);
    return { kind, meta: authentication.meta, text: encodeRequestAuthentication(authentication), policy: undefined };
  }
  const policy = decodePolicy(document);
  return { kind: policy.name.kind, meta: policy.meta, text: encodePolicy(policy), policy };
}

/**
 * Whether all expressions of a policy compile. What a controller declares is not looked at: whoever declared it there is told by its
 * status, and until it is mended it is in force all the same, where what does not compile allows nothing and always denies. Refused, a
 * DENY would be missing, and a destination without its ALLOW would be open.
 *
 * @throws DecodeError that names each field, such as `resources[3].document.spec.rules[0].when`
 */
export async function requireCompiles({ resource, policy }: ReadPolicyResource, field: string): Promise<void> {
  if (policy === undefined || ownerOfDocument(resource.document) !== undefined) return;
  const faults = await expressionFaults(policy);
  if (faults.length === 0) return;
  throw new DecodeError(faults.map(({ path, message }) => ({ path: `${field}.document.${path}`, message })));
}

/** Has the faults of what is below a field say the whole path. */
function below<T>(field: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof DecodeError)
      throw new DecodeError(error.faults.map((fault) => ({ ...fault, path: `${field}.${fault.path}` })));
    if (error instanceof IdentityError) throw new IdentityError(error.code, error.message, { field, cause: error });
    throw error;
  }
}

function checkName(text: string, field: string, maxLength: number): void {
  if (text === '') throw faulty(field, 'must not be empty');
  if (text.length > maxLength) throw faulty(field, `must have at most ${maxLength} characters; it has ${text.length}`);
  if (!/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(text)) throw faulty(field, 'must be lower-case letters, digits, `-` and `.`');
}

function faulty(field: string, message: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}
