import { decodePolicy } from '../../policy/wire-policy.ts';
import {
  Policies,
  type Resource,
  type ResourceName,
  type ResourceStatus,
} from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectCa } from '../ca-connection.ts';
import type { CommandRun } from '../command.ts';
import { printRows, type Row } from '../output.ts';
import { resourcesOf } from '../policy/ca-policies.ts';

/** `countersign policy list`: what the CA has, and how it stands. */
export const listPolicies: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const resources = (await Array.fromAsync(resourcesOf(connection))).toSorted(byKey);
  const statuses = await statusesOf(connection);
  const isTable = (invocation.text('output') ?? 'table') === 'table';
  const rows = resources.map((resource) => rowOf(resource, statuses.get(keyOf(resource.name)), isTable));
  await printRows(invocation, rows);
  return 0;
};

function byKey(one: Resource, other: Resource): number {
  return keyOf(one.name) < keyOf(other.name) ? -1 : 1;
}

async function statusesOf(connection: GrpcConnection): Promise<ReadonlyMap<string, ResourceStatus>> {
  const found = new Map<string, ResourceStatus>();
  const stop = new AbortController();
  for await (const { statuses, complete } of connection.client(Policies).watchStatus({}, { signal: stop.signal })) {
    for (const each of statuses) found.set(keyOf(each.name), each);
    if (complete) break;
  }
  stop.abort();
  return found;
}

function rowOf({ name: key, document }: Resource, status: ResourceStatus | undefined, isTable: boolean): Row {
  const { kind = '', namespace = '', name = '' } = key ?? {};
  const policy = kind === 'RequestAuthentication' ? undefined : decodePolicy(document);
  return {
    kind,
    ...(namespace === '' && !isTable ? {} : { namespace }),
    name,
    action: policy?.action,
    mode: policy?.mode,
    ...(status === undefined ? {} : nodesOf(status, isTable)),
    hits: status === undefined ? undefined : Number(status.hits),
    wouldDeny: status === undefined ? undefined : Number(status.wouldDenyHits),
    ...(status === undefined || status.nodesRefused === 0 ? {} : { refused: refusedText(status) }),
  };
}

/** People read `2/3`, programs numbers. */
function nodesOf({ nodesProgrammed, nodesConcerned }: ResourceStatus, isTable: boolean): Row {
  return isTable ? { nodes: `${nodesProgrammed}/${nodesConcerned}` } : { nodesProgrammed, nodesConcerned };
}

function refusedText({ nodesRefused, refusal }: ResourceStatus): string {
  return refusal === undefined ? String(nodesRefused) : `${nodesRefused} (${refusal.agentId}: ${refusal.reason})`;
}

function keyOf(name: ResourceName | undefined): string {
  if (name === undefined) return '';
  return name.namespace === '' ? `${name.kind}/${name.name}` : `${name.kind}/${name.namespace}/${name.name}`;
}
