import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampMs, type Timestamp } from '@bufbuild/protobuf/wkt';
import { IdentityError } from '../../core/errors.ts';
import type { PolicyName } from '../../policy/model.ts';
import type { Simulated } from '../../policy/simulate.ts';
import { decodeRequestAuthentication } from '../../policy/wire-policy.ts';
import type {
  ListCallsRequest,
  ListCallsResponseSchema,
  Policies,
  Resource,
  ResourceName,
  SimulateRequest,
  SimulateResponseSchema,
  VerdictSchema,
} from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { ServiceHandlers } from '../../runtime/grpc/service.ts';
import type { Peer } from '../../runtime/peer.ts';
import { callToProto } from '../calls/call-conversion.ts';
import type { SimulatedChange, SimulationRequest } from '../calls/call-simulation.ts';
import type { CallRecording } from '../calls/recording.ts';
import { policyKeyFromProto, readPolicyResource } from './policy-documents.ts';

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;
const MAX_RESOURCES = 1000;

/** The part of `countersign.policy.v1.Policies` that is about recorded calls. */
export function policySimulation(
  recording: CallRecording,
): Pick<ServiceHandlers<typeof Policies, Peer>, 'simulate' | 'listCalls'> {
  return {
    simulate: (request) => simulate(recording, request),
    listCalls: (request) => listCalls(recording, request),
  };
}

async function simulate(
  { simulation }: CallRecording,
  { set, deleted, countsDryRun, since, limit }: SimulateRequest,
): Promise<MessageInitShape<typeof SimulateResponseSchema>> {
  if (set.length > MAX_RESOURCES) throw tooMany('set');
  if (deleted.length > MAX_RESOURCES) throw tooMany('deleted');
  const { calls, kinds, denied, allowed, unknown, isHarmless, changes } = await simulation.simulate({
    ...changeOf(set, deleted),
    countsDryRun,
    sinceMs: sinceMs(since),
    limit: limit === 0 ? DEFAULT_LIMIT : Math.min(limit, MAX_LIMIT),
  });
  const totals = { calls: BigInt(calls), kinds: BigInt(kinds), denied, allowed, unknown, harmless: isHarmless };
  return { ...totals, changes: changes.map(changeToProto) };
}

type Change = Pick<SimulationRequest, 'set' | 'deleted' | 'authentications'>;

function changeOf(set: readonly Resource[], deleted: readonly ResourceName[]): Change {
  const read = set.map((resource, index) => readPolicyResource(resource, `set[${index}]`));
  const names = deleted.map((name, index) => policyKeyFromProto(name, `deleted[${index}]`));
  const edit = {
    set: read.flatMap(({ policy, resource }) => (policy === undefined ? [decodeRequestAuthentication(resource.document)] : [])),
    deleted: names.filter(({ kind }) => kind === 'RequestAuthentication'),
  };
  return {
    set: read.flatMap(({ policy }) => policy ?? []),
    deleted: names.flatMap(({ kind, ...rest }): PolicyName[] => (kind === 'RequestAuthentication' ? [] : [{ kind, ...rest }])),
    ...(edit.set.length + edit.deleted.length === 0 ? {} : { authentications: edit }),
  };
}

function sinceMs(since: Timestamp | undefined): number {
  return since === undefined ? 0 : Math.max(0, timestampMs(since));
}

function changeToProto({ counted, before, after }: SimulatedChange) {
  return { call: callToProto(counted), before: verdictToProto(before), after: verdictToProto(after) };
}

function verdictToProto({ verdict, reason, policy, rule }: Simulated): MessageInitShape<typeof VerdictSchema> {
  return { verdict, reason, ...(policy === undefined || rule === undefined ? {} : { rule: { policy, rule } }) };
}

async function* listCalls(
  { simulation }: CallRecording,
  { since, destinationNamespace }: ListCallsRequest,
): AsyncGenerator<MessageInitShape<typeof ListCallsResponseSchema>, void, undefined> {
  const filter = { sinceMs: sinceMs(since), ...(destinationNamespace === '' ? {} : { destinationNamespace }) };
  for await (const kinds of simulation.recorded(filter)) yield { calls: kinds.map(callToProto) };
}

function tooMany(field: string): IdentityError {
  return new IdentityError('invalid_argument', `must have at most ${MAX_RESOURCES} items`, { field });
}
