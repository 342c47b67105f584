import { create, toBinary } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { AuthorizationSettingsSchema, WorkloadMetadataSchema } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import type { ResourceSchema } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import { ResourceSchema as PolicyResourceSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { PolicyResource } from '../model.ts';
import type { RevisedPolicy } from '../registry/policies.ts';
import type { Workload } from '../registry/workloads.ts';

type Resource = MessageInitShape<typeof ResourceSchema>;

/** Writes what agents need for authorization as resources of the stream; each policy once, for all agents. */
export class AuthorizationEncoder {
  readonly #policies = new WeakMap<PolicyResource, Uint8Array>();

  *policies(policies: Iterable<RevisedPolicy>): Generator<Resource, void, undefined> {
    for (const { key: name, policy, revision } of policies) {
      yield { kind: 'policy', name, revision: BigInt(revision), value: this.#encodePolicy(policy) };
    }
  }

  *workloads(workloads: Iterable<Workload>): Generator<Resource, void, undefined> {
    for (const { spiffeId, metadata, revision } of workloads) {
      yield { kind: 'workload', name: spiffeId, revision: BigInt(revision), value: encodeMetadata(metadata) };
    }
  }

  settings(settings: MessageInitShape<typeof AuthorizationSettingsSchema>, revision: number): Resource {
    const value = toBinary(AuthorizationSettingsSchema, create(AuthorizationSettingsSchema, settings));
    return { kind: 'settings', name: 'authorization', revision: BigInt(revision), value };
  }

  #encodePolicy(policy: PolicyResource): Uint8Array {
    let bytes = this.#policies.get(policy);
    if (bytes === undefined) {
      bytes = toBinary(PolicyResourceSchema, create(PolicyResourceSchema, policyToProto(policy)));
      this.#policies.set(policy, bytes);
    }
    return bytes;
  }
}

function encodeMetadata(metadata: WorkloadMetadata): Uint8Array {
  return toBinary(WorkloadMetadataSchema, create(WorkloadMetadataSchema, metadata));
}

/** A policy resource as `countersign.policy.v1.Resource`. */
export function policyToProto({
  kind,
  namespace,
  name,
  document,
}: PolicyResource): MessageInitShape<typeof PolicyResourceSchema> {
  return { name: { kind, namespace, name }, document };
}
