// How long a change of policy takes: from the call at the CA until the agent decides by it, and until a real Envoy does by the filters that the
// agent gave it. Processes as users run them, 10,000 policies in force.
import { Agent, request } from 'node:http';
import { dirname, join } from 'node:path';
import { text as readStream } from 'node:stream/consumers';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { NORMAL_PATHS, rbacHttpFilter } from '../support/envoy-rbac-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { isInstalled } from '../support/toolchain.ts';
import type { Figure } from './report.ts';
import { adminOf, type Server } from './stacks.ts';

const CHANGES = 100;
const TARGET_MS = 100;
const GIVEN_UP_MS = 30_000;
/** Open to everybody but for the policy that changes. */
const PATH = '/changes';

interface Running {
  readonly ca: Server;
  /** The agent's `listen.authz`; its workload socket is beside it. */
  readonly socket: string;
  /** The namespace of the workload that this user's processes are. */
  readonly namespace: string;
}

type IsOpen = () => Promise<boolean>;

/** Changes a policy again and again, and asks in a tight loop until the answer has changed. */
export async function measurePolicyChanges({ ca, socket, namespace }: Running): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const connection = resources.use(adminOf(ca));
  const set = async (name: string, spec: object): Promise<void> => {
    const policy = parsePolicy({ kind: 'AuthorizationPolicy', metadata: { name, namespace }, spec });
    await connection.client(Policies).setResources({ resources: [{ name: policy.name, document: encodePolicy(policy) }] });
  };
  await set('anybody', { rules: [{ to: [{ paths: [{ exact: PATH }] }] }] });
  const turn = (isOpen: boolean): Promise<void> =>
    set('turned', { action: 'DENY', rules: [{ to: [{ paths: [{ exact: isOpen ? '/elsewhere' : PATH }] }] }] });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  resources.defer(() => agent.destroy());
  const figures = figuresOf('the agent decides by it', await timed(turn, () => isOpenAt(agent, socket)));
  if (!isInstalled('python3')) return figures;
  const filters = { http: [rbacHttpFilter('DELTA_GRPC')], manager: NORMAL_PATHS };
  const sdsSocket = join(dirname(socket), 'api.sock');
  const envoy = resources.use(await Envoy.start({ binary: await envoyBinary(), sdsSocket, protocol: 'DELTA_GRPC', filters }));
  const followed = await timed(turn, async () => (await ask(agent, { port: envoy.port, path: PATH })).status === 200);
  return [...figures, ...figuresOf('Envoy decides by it (native RBAC)', followed)];
}

/** Milliseconds from each change to the first answer by it. The first two, before which nothing is connected, do not count. */
async function timed(turn: (isOpen: boolean) => Promise<void>, isOpen: IsOpen): Promise<readonly number[]> {
  const taken: number[] = [];
  for (let change = 0; change < CHANGES + 2; change += 1) {
    const wanted = change % 2 === 1;
    const began = performance.now();
    // The answer may be there before the CA's own.
    const turned = turn(wanted);
    while ((await isOpen()) !== wanted) {
      if (performance.now() - began > GIVEN_UP_MS) throw new Error(`change ${change} of policy was not followed`);
    }
    taken.push(performance.now() - began);
    await turned;
  }
  return taken.slice(2);
}

async function isOpenAt(agent: Agent, socketPath: string): Promise<boolean> {
  const body = JSON.stringify({ request: { method: 'GET', target: PATH, authority: 'orders', headers: [] } });
  const { text } = await ask(agent, { socketPath, path: '/v1/authorize', body });
  return text.includes('"verdict":"allow"');
}

interface Question {
  readonly socketPath?: string;
  readonly port?: number;
  readonly path: string;
  readonly body?: string;
}

function ask(agent: Agent, { body, ...to }: Question): Promise<{ readonly status: number; readonly text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  request({ host: '127.0.0.1', agent, headers, method: body === undefined ? 'GET' : 'POST', ...to }, (response) => {
    readStream(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject);
  })
    .on('error', reject)
    .end(body);
  return promise;
}

function figuresOf(what: string, taken: readonly number[]): Figure[] {
  const sorted = taken.toSorted((one, other) => one - other);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  const common = { section: 'authorization', unit: 'ms', lessIsBetter: true } as const;
  return [
    {
      ...common,
      what: `policy set at the CA until ${what}, median of ${CHANGES}`,
      countersign: at(0.5),
      target: { atMost: TARGET_MS },
    },
    { ...common, what: 'the same, 99th percentile', countersign: at(0.99) },
  ];
}
