// What native access control costs an Envoy, and how fast it follows a change: the same Envoy with the agent's RBAC filter and
// without any, in turns, each on one core of its own.
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { runToEnd } from '../support/command.ts';
import { EnforcedPolicies, selectorSetOf } from '../support/enforced-policies.ts';
import { NORMAL_PATHS, RbacRig, rbacHttpFilter } from '../support/envoy-rbac-rig.ts';
import { Envoy, envoyBinary } from '../support/envoy.ts';
import { DESTINATIONS } from '../support/policy/cast.ts';
import { orders } from '../support/policy/policy-objects.ts';
import { StandInIdentities, testIdentity } from '../support/stand-in-identities.ts';
import { TestCa } from '../support/test-ca.ts';
import { goProgram } from '../support/toolchain.ts';
import type { Figure } from './report.ts';

const SECTION = 'envoy-rbac';
const ROUNDS = 5;
const CHANGES = 100;
const ENVOY_CORE = '0';
const CLIENT_CORES = cpus().length > 1 ? `1-${cpus().length - 1}` : '0';
const { orders: ORDERS } = DESTINATIONS;

interface Run {
  readonly rate: number;
  /** Time of the processor that Envoy took for a request, in microseconds. */
  readonly cpuMicros: number;
}

/** How rules are told apart. */
interface Form {
  readonly name: string;
  readonly count: number;
  /** Who calls, by what the caller's name ends with. */
  readonly caller: (name: string) => string;
  /** Whether all are about the same operation. */
  readonly isOneOperation: boolean;
}

const exact = (name: string): string => `spiffe://example.org/ns/shop/sa/client-${name}`;
const pattern = (name: string): string => `spiffe://example.org/ns/*/sa/client-${name}`;
const FORMS: readonly Form[] = [
  { name: '10 rules', count: 10, caller: exact, isOneOperation: false },
  { name: '100 rules', count: 100, caller: exact, isOneOperation: false },
  { name: '100 rules, callers by patterns', count: 100, caller: pattern, isOneOperation: false },
  { name: '100 rules over one operation', count: 100, caller: exact, isOneOperation: true },
];

/** Measures policies of 10 and of 100 rules, the last of which lets the caller in. */
export async function measureEnvoyRbac(folder: string): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const ca = TestCa.create({ trustDomain: 'example.org' });
  const policies = new EnforcedPolicies(ca);
  const rig = resources.use(await RbacRig.start(policies, new StandInIdentities(ca, [testIdentity(ca, '/orders')])));
  rig.asking = selectorSetOf(ORDERS.selectors);
  await policies.enforce([ORDERS], { policies: [] });
  const base = { binary: await envoyBinary(), sdsSocket: rig.path, protocol: 'DELTA_GRPC' } as const;
  const downstream = { certificate: 'default', validation: 'ROOTCA' };
  // The service behind, which answers at once.
  const service = resources.use(await Envoy.start(base));
  await runToEnd('taskset', ['-a', '-cp', CLIENT_CORES, String(service.pid)]);
  const plainUpstream = { port: service.port };
  const start = async (http: readonly unknown[]): Promise<Envoy> =>
    resources.use(await Envoy.start({ ...base, downstream, filters: { http, manager: NORMAL_PATHS, plainUpstream } }));
  const plain = await start([]);
  const guarded = await start([rbacHttpFilter('DELTA_GRPC')]);
  for (const { pid } of [plain, guarded]) await runToEnd('taskset', ['-a', '-cp', ENVOY_CORE, String(pid)]);
  const client = await clientFiles(ca, folder);
  const figures: Figure[] = [];
  for (const form of FORMS) {
    await policies.enforce([ORDERS], { policies: rulesOf(form) });
    const pairs: { readonly without: Run; readonly with: Run }[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      // Neither is always the second one.
      const first = await load(round % 2 === 0 ? plain : guarded, client);
      const second = await load(round % 2 === 0 ? guarded : plain, client);
      pairs.push(round % 2 === 0 ? { without: first, with: second } : { without: second, with: first });
    }
    figures.push(...figuresOf(form.name, pairs));
  }
  const followed = await changesFollowed({ ...base, policies }, resources);
  const what = `a change of policy until it is enforced, median of ${CHANGES}`;
  return [
    ...figures,
    { section: SECTION, what, unit: 'ms', countersign: median(followed), lessIsBetter: true, target: { atMost: 100 } },
  ];
}

function figuresOf(name: string, pairs: readonly { readonly without: Run; readonly with: Run }[]): Figure[] {
  const share = (pick: (run: Run) => number): number => median(pairs.map((pair) => pick(pair.with) / pick(pair.without)));
  const cpuOf = (kind: 'with' | 'without'): string => median(pairs.map((pair) => pair[kind].cpuMicros)).toFixed(1);
  const note = `median of ${ROUNDS} interleaved runs; without: ${Math.round(median(pairs.map((pair) => pair.without.rate)))}/s`;
  return [
    {
      section: SECTION,
      what: `throughput of Envoy with ${name}, of that without`,
      unit: '',
      countersign: share(({ rate }) => rate),
      target: { atLeast: 0.9 },
      note,
    },
    {
      section: SECTION,
      what: `processor time of Envoy for a request with ${name}, of that without`,
      unit: '',
      countersign: share(({ cpuMicros }) => cpuMicros),
      lessIsBetter: true,
      target: { atMost: 1.11 },
      note: `${cpuOf('with')} µs; without: ${cpuOf('without')} µs`,
    },
  ];
}

/** One of ten denies; the last allows the caller. */
function rulesOf({ count, caller, isOneOperation }: Form): object[] {
  return Array.from({ length: count }, (_, index) => {
    const isLast = index === count - 1;
    const version = isLast || isOneOperation ? 1 : index;
    return orders(`rule-${String(index).padStart(3, '0')}`, {
      action: index % 10 === 0 ? 'DENY' : 'ALLOW',
      rules: [
        {
          from: [{ spiffeIDs: [caller(isLast ? 'last' : String(index))] }],
          to: [{ methods: ['GET', 'POST'], paths: [{ template: `/v${version}/orders/{id}` }] }],
        },
      ],
    });
  });
}

interface ClientFiles {
  readonly cert: string;
  readonly key: string;
}

async function clientFiles(ca: TestCa, folder: string): Promise<ClientFiles> {
  const { chainPem, keyPem } = ca.issueX509Svid('/ns/shop/sa/client-last');
  const files = { cert: join(folder, 'client.pem'), key: join(folder, 'client-key.pem') };
  await writeFile(files.cert, chainPem);
  await writeFile(files.key, keyPem, { mode: 0o600 });
  return files;
}

async function load(envoy: Envoy, { cert, key }: ClientFiles): Promise<Run> {
  const { port, pid } = envoy;
  const program = await goProgram('httpload');
  const args = [
    '-url',
    `https://127.0.0.1:${port}/v1/orders/4711`,
    '-cert',
    cert,
    '-key',
    key,
    '-duration',
    '2s',
    '-warm-up',
    '500ms',
  ];
  const before = { seconds: cpuSeconds(pid), requests: await requestsOf(envoy) };
  const { code, stdout, stderr } = await runToEnd('taskset', ['-c', CLIENT_CORES, program, ...args]);
  const spent = { seconds: cpuSeconds(pid) - before.seconds, requests: (await requestsOf(envoy)) - before.requests };
  if (code !== 0) throw new Error(`httpload: ${stderr}`);
  // The cast is sound: the program writes exactly this.
  const told = JSON.parse(stdout) as { rate: number; requests: number; errors: number; statuses: Record<string, number> };
  if (told.errors > 0 || Object.keys(told.statuses).join() !== '200') throw new Error(`not all were let in: ${stdout}`);
  return { rate: told.rate, cpuMicros: (spent.seconds / spent.requests) * 1e6 };
}

/** How many requests its listener has taken until now. */
async function requestsOf(envoy: Envoy): Promise<number> {
  const text = await envoy.admin('/stats?filter=^http.in.downstream_rq_completed$');
  return Number(text.split(':').at(-1));
}

/** Time that a process has spent, from /proc/PID/stat (clock ticks of 10 ms). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** How long after each change of policy the first request sees it. */
async function changesFollowed(
  { policies, ...base }: { binary: string; sdsSocket: string; protocol: 'DELTA_GRPC'; policies: EnforcedPolicies },
  resources: AsyncDisposableStack,
): Promise<number[]> {
  const filters = { http: [rbacHttpFilter('DELTA_GRPC')], manager: NORMAL_PATHS };
  const envoy = resources.use(await Envoy.start({ ...base, filters }));
  const agent = new Agent({ keepAlive: true });
  resources.defer(() => agent.destroy());
  const taken: number[] = [];
  for (let change = 0; change < CHANGES; change += 1) {
    const isOpen = change % 2 === 0;
    const began = performance.now();
    await policies.enforce([ORDERS], { policies: [orders('p', { rules: isOpen ? [{}] : [] })] });
    while ((await statusOf(envoy.port, agent)) !== (isOpen ? 200 : 403));
    taken.push(performance.now() - began);
  }
  return taken;
}

function statusOf(port: number, agent: Agent): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  get({ host: '127.0.0.1', port, agent }, (response) => {
    response.resume();
    response.on('end', () => resolve(response.statusCode));
  }).on('error', reject);
  return promise;
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}
