// What the CA spends on the question "what would it break?": 10,000 kinds of recorded calls, 10,000 policies, a policy of the cluster.
import type { CallKind } from '../../ca/calls/call-kind.ts';
import { CallRecording } from '../../ca/calls/recording.ts';
import { openStore } from '../../ca/store/open.ts';
import { systemClock } from '../../core/clock.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import type { Policy } from '../../policy/policy.ts';
import { encodePolicy } from '../../policy/wire-policy.ts';
import { createLogger } from '../../runtime/log.ts';
import type { Figure } from './report.ts';

const POLICIES = 10_000;
const KINDS = 10_000;
const DESTINATIONS = 500;
const KINDS_IN_A_BATCH = 500;
const ROUNDS = 5;

/** Nothing is started: the CA's parts run in this process, with a store in memory. */
export async function measureSimulation(section: string): Promise<Figure[]> {
  const store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock: systemClock });
  const documents = Array.from({ length: POLICIES }, (_, index) => policyOf(index)).map((policy) => ({
    ...policy.name,
    document: encodePolicy(policy),
  }));
  const start = (): CallRecording =>
    new CallRecording({
      store: store.calls,
      documents: { lastRevision: 1, list: () => documents },
      metadataOf: () => undefined,
      defaultAction: 'audit',
      keepMs: 86_400_000,
      clock: systemClock,
      log: createLogger({ level: 'fatal', name: 'bench' }),
    });
  for (let first = 0; first < KINDS; first += KINDS_IN_A_BATCH) {
    const calls = Array.from({ length: KINDS_IN_A_BATCH }, (_, index) => ({
      kind: kindOf(first + index),
      count: 1,
      lastSeenAtMs: systemClock.nowMs(),
      source: callerOf(first + index),
      wouldDenyPolicies: [],
    }));
    await store.calls.add([{ agentId: 'bench', batchId: String(first), calls }], systemClock.nowMs());
  }
  const compiling: Cost[] = [];
  const simulating: Cost[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await using recording = start();
    compiling.push(await costOf(() => recording.policies.current()));
    simulating.push(await costOf(() => recording.simulation.simulate({ set: [SHUT], deleted: [], ...ALL })));
  }
  await store[Symbol.asyncDispose]();
  const row = (what: string, unit: string, values: readonly number[], atMost?: number): Figure => {
    const countersign = values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
    return { section, what, unit, countersign, lessIsBetter: true, ...(atMost === undefined ? {} : { target: { atMost } }) };
  };
  return [
    row(
      'first compile of 10,000 policies at the CA',
      'ms CPU',
      compiling.map(({ cpuMs }) => cpuMs),
    ),
    row(
      'simulate a policy of the cluster, 10,000 kinds of calls',
      'ms CPU',
      simulating.map(({ cpuMs }) => cpuMs),
      1000,
    ),
    row(
      'longest turn of the event loop while it simulates',
      'ms',
      simulating.map(({ turnMs }) => turnMs),
    ),
    row(
      'longest turn of the event loop while it compiles',
      'ms',
      compiling.map(({ turnMs }) => turnMs),
    ),
  ];
}

const ALL = { countsDryRun: false, sinceMs: 0, limit: 100 };
const SHUT = parsePolicy({
  kind: 'ClusterAuthorizationPolicy',
  metadata: { name: 'shut' },
  spec: { action: 'DENY', rules: [{ from: [{ serviceAccounts: ['ns-1/client-1'] }] }] },
});

function policyOf(index: number): Policy {
  const [place, serial] = [index % DESTINATIONS, Math.floor(index / DESTINATIONS)];
  return parsePolicy({
    kind: 'AuthorizationPolicy',
    metadata: { name: `policy-${index}`, namespace: `ns-${place % 50}` },
    spec: {
      selector: { matchLabels: { app: `app-${place}` } },
      action: index % 10 === 0 ? 'DENY' : 'ALLOW',
      rules: [
        {
          from: [{ serviceAccounts: [`ns-${serial}/client-${serial}`] }],
          to: [{ methods: ['GET', 'POST'], paths: [{ template: `/v${serial}/orders/{id}` }, { prefix: '/health' }] }],
        },
      ],
    },
  });
}

function kindOf(index: number): CallKind {
  const [place, serial] = [index % DESTINATIONS, Math.floor(index / DESTINATIONS)];
  const namespace = `ns-${place % 50}`;
  return {
    source: `spiffe://example.org/ns/ns-${serial}/sa/client-${serial}`,
    destination: {
      spiffeId: `spiffe://example.org/ns/${namespace}/sa/app-${place}`,
      namespace,
      serviceAccount: `app-${place}`,
      port: 8443,
      selectors: [`k8s:ns:${namespace}`, `k8s:pod-label:app:app-${place}`, `k8s:sa:app-${place}`],
    },
    request: { method: 'GET', host: 'orders', path: `/v${serial}/orders/{id}`, grpcService: '', grpcMethod: '' },
    verdict: 'allow',
    reason: 'default_audit',
    wouldDeny: false,
    point: 'ext_authz',
  };
}

function callerOf(index: number): { readonly namespace: string; readonly serviceAccount: string } {
  const serial = Math.floor(index / DESTINATIONS);
  return { namespace: `ns-${serial}`, serviceAccount: `client-${serial}` };
}

interface Cost {
  readonly cpuMs: number;
  readonly turnMs: number;
}

/** Processor time of this thread: in all, and of the longest turn of the event loop. */
async function costOf(work: () => Promise<unknown>): Promise<Cost> {
  const spentMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  };
  const startedMs = spentMs();
  let [last, turnMs] = [startedMs, 0];
  const note = (): void => {
    const now = spentMs();
    turnMs = Math.max(turnMs, now - last);
    last = now;
  };
  let next = setImmediate(function count() {
    note();
    next = setImmediate(count);
  });
  await work();
  note();
  clearImmediate(next);
  return { cpuMs: spentMs() - startedMs, turnMs };
}
