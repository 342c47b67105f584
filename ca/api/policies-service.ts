import type { MessageInitShape } from '@bufbuild/protobuf';
import { IdentityError } from '../../core/errors.ts';
import type {
  DeleteResourcesRequest,
  ListResourcesRequest,
  ListResourcesResponseSchema,
  Policies,
  SetResourcesRequest,
} from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { Call } from '../../runtime/grpc/call.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { CallRecording } from '../calls/recording.ts';
import { Turns } from '../calls/turns.ts';
import { policyResourceKey } from '../model.ts';
import type { PolicyResource } from '../model.ts';
import type { PolicyStatuses } from '../policies/statuses.ts';
import type { Mutation } from '../store/store.ts';
import { policyToProto } from './authorization-encoding.ts';
import type { ApiContext } from './api-context.ts';
import type { Authorizer } from './authorizer.ts';
import { watchStatus } from './policy-status.ts';
import { kindOf, policyKeyFromProto, readPolicyResource, requireCompiles } from './policy-documents.ts';
import { requireOwnLabel, requireOwnPresent } from './policy-ownership.ts';
import type { PolicyCaller } from './policy-ownership.ts';

/** Most resources of one request. */
const MAX_RESOURCES = 10_000;
/** About so many characters are in one part of a list. */
const PART_CHARACTERS = 512 * 1024;

/** What the service needs besides the common context. */
export interface PoliciesOptions extends ApiContext {
  readonly policyStatuses: PolicyStatuses;
  readonly authorizer: Pick<Authorizer, 'policyOwner'>;
  readonly recording: Pick<CallRecording, 'defaultAction'>;
}

/** `countersign.policy.v1.Policies`: the resources that say who may call whom. */
export function policiesService(context: PoliciesOptions): ServiceHandlers<typeof Policies, Peer> {
  return {
    setResources: (request, call) => setResources(context, request, callerOf(context, call)),
    deleteResources: (request, call) => deleteResources(context, request, callerOf(context, call)),
    listResources: (request) => listResources(context, request),
    watchStatus: (_request, call) => watchStatus(context.policyStatuses, call.signal),
  };
}

function callerOf({ authorizer, clock }: PoliciesOptions, call: Call<Peer>): PolicyCaller {
  return { owner: authorizer.policyOwner(call), clock };
}

async function setResources(
  context: ApiContext,
  { resources }: SetResourcesRequest,
  caller: PolicyCaller,
): Promise<{ revision: bigint }> {
  checkCount(resources.length, 'resources');
  const read: PolicyResource[] = [];
  const turns = new Turns(context.clock);
  for (const [index, resource] of resources.entries()) {
    if (turns.isOver) await turns.next();
    const field = `resources[${index}]`;
    const found = readPolicyResource(resource, field);
    requireOwnLabel(found.resource, caller);
    await requireCompiles(found, field);
    read.push(found.resource);
  }
  checkDistinct(read);
  return change(context, async (tx) => {
    await requireOwnPresent(tx, read, caller);
    await tx.putPolicies(read);
  });
}

function deleteResources(
  context: ApiContext,
  { names }: DeleteResourcesRequest,
  caller: PolicyCaller,
): Promise<{ revision: bigint }> {
  checkCount(names.length, 'names');
  const keys = names.map((name, index) => policyKeyFromProto(name, `names[${index}]`));
  return change(context, async (tx) => {
    await requireOwnPresent(tx, keys, caller);
    await tx.deletePolicies(keys);
  });
}

async function change({ store, registry }: ApiContext, work: (tx: Mutation) => Promise<void>): Promise<{ revision: bigint }> {
  const { revision } = await store.mutate(work);
  await registry.waitFor(revision);
  return { revision: BigInt(revision) };
}

async function* listResources(
  { registry, recording: { defaultAction } }: PoliciesOptions,
  { kinds }: ListResourcesRequest,
): AsyncGenerator<MessageInitShape<typeof ListResourcesResponseSchema>, void, undefined> {
  const wanted = new Set(kinds.map((kind, index) => kindOf(kind, `kinds[${index}]`)));
  let part: PolicyResource[] = [];
  let characters = 0;
  for (const policy of registry.policies.list()) {
    if (wanted.size > 0 && !wanted.has(policy.kind)) continue;
    part.push(policy);
    characters += policy.document.length;
    if (characters < PART_CHARACTERS) continue;
    yield { resources: part.map(policyToProto), defaultAction };
    part = [];
    characters = 0;
  }
  yield { resources: part.map(policyToProto), defaultAction };
}

function checkCount(count: number, field: string): void {
  if (count <= MAX_RESOURCES) return;
  throw new IdentityError('invalid_argument', `has ${count} items; send at most ${MAX_RESOURCES} at once`, { field });
}

function checkDistinct(policies: readonly PolicyResource[]): void {
  const seen = new Set<string>();
  for (const [index, policy] of policies.entries()) {
    const key = policyResourceKey(policy);
    if (seen.has(key))
      throw new IdentityError('invalid_argument', `${key} is there twice`, { field: `resources[${index}].name` });
    seen.add(key);
  }
}
