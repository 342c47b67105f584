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
  const rows = resources.map((resource) => rowOf(resource, statuses.get(keyOf(resource.name))));
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

function rowOf({ name, document }: Resource, status: ResourceStatus | undefined): Row {
  const { kind = '' } = name ?? {};
  const policy = kind === 'RequestAuthentication' ? undefined : decodePolicy(document);
  return {
    kind,
    name: keyOf(name).slice(kind.length + 1),
    action: policy?.action,
    mode: policy?.mode,
    nodes: status === undefined ? undefined : `${status.nodesProgrammed}/${status.nodesConcerned}`,
    hits: status === undefined ? undefined : Number(status.hits),
    wouldDeny: status === undefined ? undefined : Number(status.wouldDenyHits),
    ...(status === undefined || status.nodesRefused === 0 ? {} : { refused: refusedText(status) }),
  };
}

function refusedText({ nodesRefused, refusal }: ResourceStatus): string {
  return refusal === undefined ? String(nodesRefused) : `${nodesRefused} (${refusal.agentId}: ${refusal.reason})`;
}

function keyOf(name: ResourceName | undefined): string {
  if (name === undefined) return '';
  return name.namespace === '' ? `${name.kind}/${name.name}` : `${name.kind}/${name.namespace}/${name.name}`;
}
