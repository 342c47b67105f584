// A CA and an agent in processes of their own, of which this test's process is the workload `/orders` in namespace `shop`: its Envoy asks.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Authorization, CheckRequestSchema } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { authz } from './policy/policy-objects.ts';
import { own, OWN_SELECTOR, WholeSystem } from './whole-system.ts';

/** A request as Envoy tells of it. */
export interface AskedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Starts both, with `/orders` (this process) and `/web` declared as workloads of `shop`. `prepare` makes files in the agent's folder. */
export async function startAskingSystem(
  authorization: string,
  prepare: (folder: string) => void = () => {},
): Promise<WholeSystem> {
  const agentYaml = `attestor: { joinTokenFile: ./token }\nauthorization: ${authorization}\n`;
  const system = await WholeSystem.startCa({ agentYaml }, (folder) => {
    mkdirSync(join(folder, 'agent'), { recursive: true });
    prepare(join(folder, 'agent'));
  });
  await system.startAgent();
  await declare(system, 'orders', OWN_SELECTOR);
  await declare(system, 'web', { type: 'unix', value: 'uid:4294967' });
  await system.served('spiffe://example.org/orders');
  return system;
}

async function declare(system: WholeSystem, serviceAccount: string, selector: typeof OWN_SELECTOR): Promise<void> {
  const countersignWorkload = { namespace: 'shop', serviceAccount };
  const entry = {
    spiffeId: own(`/${serviceAccount}`),
    parentId: own(system.agentPath),
    selectors: [selector],
    countersignWorkload,
  };
  const { results } = await system.admin(Entry).batchCreateEntry({ entries: [entry] });
  if (results[0]?.status?.code !== 0) throw new Error(`/${serviceAccount} was not registered`);
}

/** Asks the agent as the Envoy of `/orders` does, about a call of `/web`. @returns whether it may pass */
export async function ask(system: WholeSystem, { method, path, headers = {} }: AskedRequest): Promise<boolean> {
  const http = { method, path, host: 'orders.shop', headers };
  const source = { principal: 'spiffe://example.org/web' };
  using connection = system.connect(system.workloadSocket);
  const { status } = await connection
    .client(Authorization)
    .check(create(CheckRequestSchema, { attributes: { source, request: { http } } }));
  return status?.code === 0;
}

/** Declares an AuthorizationPolicy of `shop`. */
export async function setPolicy(system: WholeSystem, name: string, spec: object): Promise<void> {
  const policy = parsePolicy(authz(name, spec));
  await system.admin(Policies).setResources({ resources: [{ name: policy.name, document: encodePolicy(policy) }] });
}

/** Reads again and again until what is read is as wanted. @throws Error with the agent's log when it takes too long */
export async function until<T>(system: WholeSystem, read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  for (const startMs = performance.now(); ;) {
    const value = await read();
    if (holds(value)) return value;
    if (performance.now() - startMs > 30_000) throw new Error(`it did not come:\n${system.agent?.log ?? ''}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
