// A CA with an agent that has workloads in two namespaces: what the tests of recorded calls talk to.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { Policies, Recording } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import type { Call, CallSchema, ReportCallsResponse, ResourceSchema } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { RunningCa } from './running-ca.ts';
import type { RunningCaOptions } from './running-ca.ts';
import { attestTestAgent, type TestAgent } from './test-agent.ts';

type CallInit = Exclude<MessageInitShape<typeof CallSchema>, Call>;

/** SPIFFE ID of a service account of `example.org`. */
export function account(namespace: string, name: string): string {
  return `spiffe://example.org/ns/${namespace}/sa/${name}`;
}

/** A call from `shop/web` to `shop/orders`, changed as asked. */
export function wireCall(change: CallInit = {}): CallInit {
  return {
    sourceSpiffeId: account('shop', 'web'),
    destination: {
      spiffeId: account('shop', 'orders'),
      namespace: 'shop',
      serviceAccount: 'orders',
      port: 8443,
      selectors: ['k8s:pod-label:app:orders'],
    },
    request: { method: 'GET', host: 'orders', pathTemplate: '/orders/{id}' },
    verdict: 'allow',
    reason: 'default_audit',
    count: 3n,
    lastSeen: timestampFromMs(Date.now()),
    point: 'ext_authz',
    ...change,
  };
}

/** A resource as it goes over the wire. */
export function wirePolicy(object: object): MessageInitShape<typeof ResourceSchema> {
  const policy = parsePolicy(object);
  return { name: policy.name, document: encodePolicy(policy) };
}

/** A CA to call. */
export type CaUnderTest = Pick<RunningCa, 'local' | 'remote'> & AsyncDisposable;

/** A CA, an agent with the workloads `shop/orders` and `shop/web`, and one elsewhere that is `billing/batch`. */
export class CallsRig<C extends CaUnderTest = RunningCa> implements AsyncDisposable {
  readonly ca: C;
  readonly agent: TestAgent;
  #batches = 0;

  private constructor(ca: C, agent: TestAgent) {
    this.ca = ca;
    this.agent = agent;
  }

  static async start(options: RunningCaOptions = {}): Promise<CallsRig> {
    return CallsRig.on(await RunningCa.start(options));
  }

  /** Attests the agent and registers the workloads at a CA that runs. */
  static async on<C extends CaUnderTest>(ca: C): Promise<CallsRig<C>> {
    const rig = new CallsRig(ca, await attestTestAgent(ca));
    const own = rig.agent.id.path;
    for (const [parent, namespace, name] of [
      [own, 'shop', 'orders'],
      [own, 'shop', 'web'],
      ['/elsewhere', 'billing', 'batch'],
    ] as const) {
      await rig.register(parent, namespace, name);
    }
    return rig;
  }

  /** Registers a service account. */
  async register(parent: string, namespace: string, name: string): Promise<void> {
    const { results } = await this.ca.local(Entry).batchCreateEntry({
      entries: [
        {
          spiffeId: { trustDomain: 'example.org', path: `/ns/${namespace}/sa/${name}` },
          parentId: { trustDomain: 'example.org', path: parent },
          selectors: [`ns:${namespace}`, `sa:${name}`].map((value) => ({ type: 'k8s', value })),
        },
      ],
    });
    if (results[0]?.status?.code !== 0) throw new Error(`not registered: ${results[0]?.status?.message}`);
  }

  get policies() {
    return this.ca.local(Policies);
  }

  report(...calls: readonly CallInit[]): Promise<ReportCallsResponse> {
    this.#batches += 1;
    return this.reportAs(`batch-${this.#batches}`, ...calls);
  }

  reportAs(batchId: string, ...calls: readonly CallInit[]): Promise<ReportCallsResponse> {
    return this.agent.connection.client(Recording).reportCalls({ batchId, calls: [...calls] });
  }

  async list(request: { readonly destinationNamespace?: string } = {}): Promise<readonly Call[]> {
    const parts = await Array.fromAsync(this.policies.listCalls(request));
    return parts.flatMap(({ calls }) => calls);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ca[Symbol.asyncDispose]();
  }
}
