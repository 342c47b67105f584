// Decisions of a real agent beside those of Open Policy Agent: the same rules, the same calls, each on one core of its own, asked
// by the same client over a unix socket.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';

import { sleep, systemClock } from '../../core/clock.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { Policies } from '../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Entry as EntryService } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { runToEnd } from '../support/command.ts';
import { goProgram } from '../support/toolchain.ts';
import { startDaemon } from './daemon.ts';
import { startOpa, type ComparedRule } from './opa.ts';
import { measurePolicyChanges } from './policy-change.ts';
import type { Figure } from './report.ts';
import { adminOf, enrolment, startCa, type Server } from './stacks.ts';

export const DESTINATIONS = 100;
const RULES_EACH = 100;
const SECONDS = 3;
const ROUNDS = 3;
/** The server that is measured has the first core; who asks has the others. */
const SERVER_CORE = '0';
const CLIENT_CORES = cpus().length > 1 ? `1-${cpus().length - 1}` : '0';

interface Load {
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly errors: number;
}

/** Starts both, puts the rules into both, and asks them in turns. */
export async function measureAuthorization(folder: string): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const rules = Array.from({ length: DESTINATIONS }, (_, index) => rulesOf(index)).flat();
  const opaFolder = join(folder, 'opa');
  mkdirSync(opaFolder, { recursive: true });
  const opa = resources.use(await startOpa(opaFolder, rules));
  const ours = await startOurs(join(folder, 'authorization'), rules, resources);
  const figures = await measurePolicyChanges({ ...ours, namespace: 'service-0' });
  for (const pid of [opa.pid, ours.pid]) pin(pid, SERVER_CORE);
  for (const call of CALLS) {
    const rounds: { readonly own: Load; readonly other: Load }[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const own = await load(ours.socket, '/v1/authorize', ourQuestion(call), call.isAllowed ? 'allow' : 'deny');
      const other = await load(opa.socket, '/v1/data/countersign/allow', opaQuestion(call), String(call.isAllowed));
      rounds.push({ own, other });
    }
    const best = (pick: (each: (typeof rounds)[number]) => number): number => Math.max(...rounds.map(pick));
    const peer = (value: number) => ({ name: 'OPA', value });
    const section = 'authorization';
    figures.push(
      {
        section,
        what: `decisions over HTTP, one core, ${call.name}`,
        unit: '/s',
        countersign: best(({ own }) => own.rate),
        peer: peer(best(({ other }) => other.rate)),
        target: { timesPeer: 1 },
      },
      {
        section,
        what: `the same, median, 16 callers`,
        unit: 'ms',
        countersign: -best(({ own }) => -own.p50Ms),
        peer: peer(-best(({ other }) => -other.p50Ms)),
        lessIsBetter: true,
      },
    );
  }
  return figures;
}

/** Nine rules of ten allow; a caller is named by a pattern, so that nobody finds a rule by its name. */
export function rulesOf(destination: number): ComparedRule[] {
  return Array.from({ length: RULES_EACH }, (_, index) => ({
    destination: `service-${destination}`,
    action: index % 10 === 0 ? 'DENY' : 'ALLOW',
    caller: `spiffe://example.org/ns/*/sa/client-${index}`,
    methods: ['GET', 'POST'],
    paths: [`/v${index}/orders/*`, '/health'],
  }));
}

interface ComparedCall {
  readonly name: string;
  readonly source: string;
  readonly path: string;
  readonly isAllowed: boolean;
}

export const client = (index: number): string => `spiffe://example.org/ns/shop/sa/client-${index}`;

const CALLS: readonly ComparedCall[] = [
  { name: 'allowed by the first rule', source: client(1), path: '/v1/orders/4711', isAllowed: true },
  { name: 'allowed by the last rule', source: client(99), path: '/v99/orders/4711', isAllowed: true },
  { name: 'allowed by none', source: client(99), path: '/v98/orders/4711', isAllowed: false },
];

function ourQuestion({ source, path }: ComparedCall): object {
  return { sourceId: source, request: { method: 'GET', target: path, authority: 'orders.shop', headers: [['accept', '*/*']] } };
}

function opaQuestion({ source, path }: ComparedCall): object {
  return { input: { destination: 'service-0', source, method: 'GET', path } };
}

export async function startOurs(
  folder: string,
  rules: readonly ComparedRule[],
  resources: AsyncDisposableStack,
): Promise<{ readonly pid: number; readonly socket: string; readonly ca: Server }> {
  const ca = resources.use(await startCa(join(folder, 'ca'), { settings: ['authorization: { default: deny }'] }));
  const agent = join(folder, 'agent');
  mkdirSync(agent, { recursive: true });
  const { token, bundlePem } = await enrolment(ca);
  writeFileSync(join(agent, 'token'), token, { mode: 0o600 });
  writeFileSync(join(agent, 'bundle.pem'), bundlePem);
  const config = [
    'trustDomain: example.org',
    'dataDir: ./data',
    `server: "${ca.address}"`,
    'bootstrap: { file: ./bundle.pem }',
    'attestor: { joinTokenFile: ./token }',
    'keys: { kind: memory }',
    'workloadAttestors: { unix: {} }',
    'listen: { workload: "unix:./api.sock", authz: "unix:./authz.sock" }',
    // A decision log costs what its disk costs; OPA keeps none here either.
    'authorization: { decisionLog: { sample: 0, recordsPerSecond: 0 } }',
    'log: { level: warn }',
  ];
  const daemon = resources.use(await startDaemon('agent', agent, { config: config.join('\n'), socket: join(agent, 'api.sock') }));
  await declare(ca, token, rules);
  const socket = join(agent, 'authz.sock');
  await untilDecided(socket);
  return { pid: daemon.pid, socket, ca };
}

/** The workload that asks is this process's user; the rules of `service-0` are about it. */
async function declare(ca: Server, token: string, rules: readonly ComparedRule[]): Promise<void> {
  using admin = adminOf(ca);
  const trustDomain = 'example.org';
  await admin.client(EntryService).batchCreateEntry({
    entries: [
      {
        spiffeId: { trustDomain, path: '/ns/service-0/sa/orders' },
        parentId: { trustDomain, path: `/spire/agent/join_token/${token}` },
        selectors: [{ type: 'unix', value: `uid:${process.getuid?.() ?? 0}` }],
        countersignWorkload: { namespace: 'service-0', serviceAccount: 'orders' },
      },
    ],
  });
  const resources = rules.map((rule, index) => resourceOf(rule, index));
  for (let start = 0; start < resources.length; start += 500) {
    await admin.client(Policies).setResources({ resources: resources.slice(start, start + 500) });
  }
}

function resourceOf({ destination, action, caller, methods, paths }: ComparedRule, index: number) {
  const name = { kind: 'AuthorizationPolicy', namespace: destination, name: `rule-${index}` };
  const [template = '', exact] = paths;
  const policy = parsePolicy({
    kind: name.kind,
    metadata: { name: name.name, namespace: destination },
    spec: {
      action,
      rules: [
        {
          from: [{ spiffeIDs: [caller] }],
          to: [{ methods, paths: [{ template: template.replace('*', '{id}') }, { exact }] }],
        },
      ],
    },
  });
  return { name, document: encodePolicy(policy) };
}

async function untilDecided(socket: string): Promise<void> {
  const [allowed] = CALLS;
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (allowed !== undefined && (await answer(socket, '/v1/authorize', ourQuestion(allowed))).includes('"allow"')) return;
    await sleep(systemClock, 50);
  }
  throw new Error('the agent does not allow what the policies allow');
}

async function answer(socket: string, path: string, question: object): Promise<string> {
  const body = JSON.stringify(question);
  const args = ['-s', '--unix-socket', socket, '-H', 'content-type: application/json', '-d', body, `http://localhost${path}`];
  return (await runToEnd('curl', args)).stdout;
}

const JSON_HEADER = ['-header', 'content-type: application/json'];

/** One load of sixteen callers. The answer is looked at before, and each status during it. */
async function load(socket: string, path: string, question: object, expected: string): Promise<Load> {
  const text = await answer(socket, path, question);
  if (!text.includes(expected)) throw new Error(`the answer of ${path} is ${text}, not ${expected}`);
  const program = await goProgram('httpload');
  const load = [
    '-unix',
    socket,
    '-url',
    `http://localhost${path}`,
    '-body',
    JSON.stringify(question),
    '-duration',
    `${SECONDS}s`,
  ];
  const { code, stdout, stderr } = await runToEnd('taskset', ['-c', CLIENT_CORES, program, ...load, ...JSON_HEADER]);
  if (code !== 0) throw new Error(`httpload: ${stderr}`);
  // The cast is sound: the program writes exactly this.
  const told = JSON.parse(stdout) as Load;
  if (told.errors > 0 || Object.keys(told.statuses).join() !== '200') throw new Error(`not all were answered: ${stdout}`);
  return told;
}

export function pin(pid: number, core: string): void {
  const { status, stderr } = spawnSync('taskset', ['-a', '-p', '-c', core, String(pid)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`taskset: ${stderr}`);
}
