import { fromBinary } from '@bufbuild/protobuf';

import { IdentityError } from '../../core/errors.ts';
import {
  AuthorizationSettingsSchema,
  WorkloadMetadataSchema,
  type Resource,
} from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { ResourceSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { DefaultAction } from '../../policy/model.ts';
import { policyKey } from '../../policy/policy.ts';
import { parseKeySet } from '../../policy/users/key-set.ts';
import { decodePolicy, decodeRequestAuthentication } from '../../policy/wire-policy.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import {
  SETTINGS,
  UNREADABLE,
  type AuthorizationSettings,
  type PolicyDocument,
  type PolicyUpdate,
} from '../authz/policy-update.ts';

type Named = Pick<Resource, 'name' | 'value' | 'removed'>;
type Changes<T> = Map<string, T | typeof UNREADABLE | undefined>;

/** Collects what an answer of the CA says of authorization. What cannot be read is kept as such, so that it can be closed. */
export class PolicyParts {
  #policies: Changes<PolicyDocument> = new Map();
  #workloads: Changes<WorkloadMetadata> = new Map();
  #settings: Changes<AuthorizationSettings> = new Map();

  /**
   * Takes in a resource; one of another kind is none of its business.
   *
   * @throws what reading it threw, after it has been noted as unreadable
   */
  add(resource: Resource): void {
    if (resource.kind === 'policy') addTo(this.#policies, resource, readDocument);
    else if (resource.kind === 'workload') addTo(this.#workloads, resource, readWorkload);
    else if (resource.kind === 'settings') addTo(this.#settings, resource, readSettings);
  }

  /** Everything since the last time, as one update. */
  take(position: Pick<PolicyUpdate, 'isSnapshot' | 'revision'>): PolicyUpdate {
    const update = { ...position, policies: this.#policies, workloads: this.#workloads, settings: this.#settings };
    this.#policies = new Map();
    this.#workloads = new Map();
    this.#settings = new Map();
    return update;
  }
}

function addTo<T>(changes: Changes<T>, { name, value, removed }: Named, read: (name: string, value: Uint8Array) => T): void {
  if (removed) return void changes.set(name, undefined);
  changes.set(name, UNREADABLE);
  changes.set(name, read(name, value));
}

function readDocument(key: string, value: Uint8Array): PolicyDocument {
  const { name: { kind, namespace, name } = { kind: '', namespace: '', name: '' }, document } = fromBinary(ResourceSchema, value);
  requireName(key, `${kind}/${namespace}/${name}`);
  if (kind === 'RequestAuthentication') {
    const authentication = decodeRequestAuthentication(document);
    requireName(key, `${kind}/${authentication.meta.namespace}/${authentication.meta.name}`);
    return { kind: 'authentication', authentication };
  }
  const policy = decodePolicy(document);
  requireName(key, policyKey(policy.name));
  return { kind: 'policy', policy };
}

// A document under another's name would be in force where nobody looks for it, and would stay when it is removed.
function requireName(expected: string, actual: string): void {
  if (actual !== expected) throw new IdentityError('invalid_argument', 'is not the name of the resource', { field: 'name' });
}

function readWorkload(name: string, value: Uint8Array): WorkloadMetadata {
  parseSpiffeId(name, 'name');
  const { namespace, serviceAccount } = fromBinary(WorkloadMetadataSchema, value);
  return { ...(namespace === '' ? {} : { namespace }), ...(serviceAccount === '' ? {} : { serviceAccount }) };
}

const ACTIONS: readonly DefaultAction[] = ['audit', 'allow', 'deny'];

function readSettings(name: string, value: Uint8Array): AuthorizationSettings {
  if (name !== SETTINGS) throw new IdentityError('invalid_argument', 'there are no such settings', { field: 'name' });
  const { defaultAction: text, exchangeIssuer, exchangeJwksUri, exchangeJwks } = fromBinary(AuthorizationSettingsSchema, value);
  const defaultAction = ACTIONS.find((action) => action === text);
  if (defaultAction === undefined) {
    throw new IdentityError('invalid_argument', `must be ${ACTIONS.join(', ')}`, { field: 'default_action' });
  }
  return {
    defaultAction,
    exchangeIssuer: exchangeIssuer === '' ? undefined : exchangeIssuer,
    exchangeJwksUri: exchangeJwksUri === '' ? undefined : exchangeJwksUri,
    exchangeKeys: exchangeJwks.length === 0 ? undefined : parseKeySet(exchangeJwks),
  };
}
