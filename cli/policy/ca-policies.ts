import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { loadExpressions } from '../../policy/expressions/load.ts';
import type { DefaultAction } from '../../policy/model.ts';
import type { Policy } from '../../policy/policy.ts';
import type { RequestAuthentication } from '../../policy/resources/request-authentication.ts';
import { decodePolicy, decodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { Policies, type Resource } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import { connectCa } from '../ca-connection.ts';
import type { Invocation } from '../command.ts';
import { defaultOf, readResources, snapshotOf } from './policy-files.ts';

/** Policies, and what holds where no ALLOW policy selects the destination. */
export interface PolicySet {
  readonly policies: readonly Policy[];
  readonly authentications: readonly RequestAuthentication[];
  readonly defaultAction: DefaultAction;
}

/** The policies of `--policies`; without it those that the CA has, with its default unless `--default` says another. */
export async function policiesOfOptions(invocation: Invocation): Promise<PolicySet> {
  const files = invocation.texts('policies');
  const said = defaultOf(invocation);
  if (files.length > 0) {
    const { policies, authentications } = await readResources(invocation, files);
    return { policies, authentications, defaultAction: said ?? 'audit' };
  }
  using connection = await connectCa(invocation);
  const policies: Policy[] = [];
  const authentications: RequestAuthentication[] = [];
  let ofCa: DefaultAction | undefined;
  for await (const { resources, defaultAction } of connection.client(Policies).listResources({})) {
    ofCa ??= actionOf(defaultAction);
    for (const { name, document } of resources) {
      if (name?.kind === 'RequestAuthentication') authentications.push(decodeRequestAuthentication(document));
      else policies.push(decodePolicy(document));
    }
  }
  return { policies, authentications, defaultAction: said ?? ofCa ?? 'audit' };
}

function actionOf(text: string): DefaultAction | undefined {
  return text === 'audit' || text === 'allow' || text === 'deny' ? text : undefined;
}

/** {@link policiesOfOptions}, compiled. Faults of expressions are told on standard error. */
export async function snapshotOfOptions(invocation: Invocation): Promise<Snapshot> {
  const { policies, defaultAction } = await policiesOfOptions(invocation);
  return snapshotOf(invocation, policies, { defaultAction, expressions: await loadExpressions(policies) });
}

/** The resources that the CA has; no kinds: of all. */
export async function* resourcesOf(connection: GrpcConnection, kinds: readonly string[] = []): AsyncGenerator<Resource> {
  for await (const { resources } of connection.client(Policies).listResources({ kinds: [...kinds] })) yield* resources;
}
