import { systemClock } from '../../core/clock.ts';
import { compile } from '../../policy/compile/snapshot.ts';
import { explain } from '../../policy/explain.ts';
import { normalizeRequest } from '../../policy/normalize/request.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { connectGrpc } from '../../runtime/grpc-client.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { explanationText } from '../policy/explanation-text.ts';
import { NAMESPACE, TRUST_DOMAIN } from './identity-plane.ts';

/** Who may call whom: each service answers its own caller, and nobody else. */
const POLICIES = [
  allow('orders', { caller: 'web' }),
  allow('payments', { caller: 'orders' }),
  allow('web', { caller: 'nobody' }),
].map(parsePolicy);

function allow(name: string, { caller }: { readonly caller: string }): object {
  return {
    apiVersion: 'countersign.dev/v1alpha1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: NAMESPACE },
    spec: {
      targetRefs: [{ kind: 'ServiceAccount', name }],
      rules: [{ from: [{ serviceAccounts: [caller] }], to: [{ methods: ['GET'], paths: [{ exact: '/' }] }] }],
    },
  };
}

/** Gives the policies to the CA, which sends them to the agents that they concern. */
export async function declarePolicies(caSocket: string): Promise<void> {
  using connection = connectGrpc({ target: { kind: 'unix', path: caSocket }, clock: systemClock });
  const resources = POLICIES.map((policy) => ({ name: policy.name, document: encodePolicy(policy) }));
  await connection.client(Policies).setResources({ resources });
}

/** Why a service may not call another, as `countersign policy explain` says it. */
export function explainDenial(caller: string, callee: string): string {
  const snapshot = compile(POLICIES);
  const request = normalizeRequest({ method: 'GET', target: '/', headers: [['host', callee]] });
  const call = { source: workload(caller), destination: { ...workload(callee), selectors: new Set<string>() }, ...request };
  return explanationText(explain(snapshot, { ...call, atMs: systemClock.nowMs() }));
}

function workload(name: string) {
  return { spiffeId: parseSpiffeId(`spiffe://${TRUST_DOMAIN}/${name}`), namespace: NAMESPACE, serviceAccount: name };
}
