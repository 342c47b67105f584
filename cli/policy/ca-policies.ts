import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { loadExpressions } from '../../policy/expressions/load.ts';
import type { Policy } from '../../policy/policy.ts';
import { decodePolicy } from '../../policy/wire-policy.ts';
import { Policies, type Resource } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectCa } from '../ca-connection.ts';
import type { Invocation } from '../command.ts';
import { readPolicies, snapshotOf } from './policy-files.ts';

/** The policies of `--policies`; without it those that the CA has. */
export async function policiesOfOptions(invocation: Invocation): Promise<readonly Policy[]> {
  const files = invocation.texts('policies');
  if (files.length > 0) return readPolicies(invocation, files);
  using connection = await connectCa(invocation);
  const kinds = ['AuthorizationPolicy', 'ClusterAuthorizationPolicy'];
  return (await Array.fromAsync(resourcesOf(connection, kinds))).map(({ document }) => decodePolicy(document));
}

/** {@link policiesOfOptions}, compiled with the default of `--default`. Faults of expressions are told on standard error. */
export async function snapshotOfOptions(invocation: Invocation): Promise<Snapshot> {
  const policies = await policiesOfOptions(invocation);
  return snapshotOf(invocation, policies, await loadExpressions(policies));
}

/** The resources that the CA has; no kinds: of all. */
export async function* resourcesOf(connection: GrpcConnection, kinds: readonly string[] = []): AsyncGenerator<Resource> {
  for await (const { resources } of connection.client(Policies).listResources({ kinds: [...kinds] })) yield* resources;
}
