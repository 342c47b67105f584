// The policy engine: decisions, compilation, updates. 10,000 policies, 100 rules for the destination, no CEL.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { systemClock } from '../../core/clock.ts';
import { compile } from '../../policy/compile/snapshot.ts';
import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { decide } from '../../policy/decide.ts';
import type { Call, Destination } from '../../policy/model.ts';
import { normalizeRequest } from '../../policy/normalize/request.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import type { Policy } from '../../policy/policy.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Figure } from './report.ts';

const POLICIES = 10_000;
const RULES_FOR_DESTINATION = 100;
const DECISIONS = 10_000_000;
const SAMPLES = 200_000;

/** How the rules name their callers: `exact` is found by index, `pattern` is the worst case, where every rule is looked at. */
type Callers = 'exact' | 'pattern';

/** Nothing is started: the engine runs in this process. */
export function measurePolicy(): Figure[] {
  const section = 'policy';
  const policies = population('exact');
  const compileMs = median(Array.from({ length: 7 }, () => timed(() => compile(policies))));
  const snapshot = compile(policies);
  const updateMs = updates(snapshot);
  const decisions = (['exact', 'pattern'] as const).flatMap((callers) => decisionFigures(section, callers));
  return [
    ...decisions,
    {
      section,
      what: 'heap growth over 10 million decisions',
      unit: 'MiB',
      countersign: heapGrowthMib(snapshot),
      lessIsBetter: true,
      target: { atMost: 2 },
    },
    { section, what: 'compile 10,000 policies', unit: 'ms', countersign: compileMs, lessIsBetter: true, target: { atMost: 500 } },
    {
      section,
      what: 'update of one policy, median',
      unit: 'ms',
      countersign: median(updateMs),
      lessIsBetter: true,
      target: { atMost: 5 },
    },
    { section, what: 'update of one policy, slowest of 200', unit: 'ms', countersign: Math.max(...updateMs), lessIsBetter: true },
  ];
}

function decisionFigures(section: string, callers: Callers): Figure[] {
  const snapshot = compile(population(callers));
  const calls = callsOf();
  for (let index = 0; index < 100_000; index += 1) decide(snapshot, calls[index % calls.length] ?? never());
  const micros = Float64Array.from({ length: SAMPLES }, (_, index) => {
    const call = calls[index % calls.length] ?? never();
    return timed(() => decide(snapshot, call)) * 1000;
  }).sort();
  const what = callers === 'exact' ? 'decide, callers named exactly' : 'decide, callers named by patterns';
  const at = (share: number): number => micros[Math.floor(SAMPLES * share)] ?? Number.NaN;
  return [
    { section, what: `${what}, median`, unit: 'µs', countersign: at(0.5), lessIsBetter: true, target: { atMost: 5 } },
    { section, what: `${what}, 99th percentile`, unit: 'µs', countersign: at(0.99), lessIsBetter: true, target: { atMost: 50 } },
  ];
}

/** 99 policies of other namespaces for each one of the destination's. */
function population(callers: Callers): readonly Policy[] {
  return Array.from({ length: POLICIES }, (_, index) => policyOf(index, callers));
}

function policyOf(index: number, callers: Callers): Policy {
  const isOurs = index < RULES_FOR_DESTINATION;
  const namespace = isOurs ? 'shop' : `ns-${index % 990}`;
  const id =
    callers === 'exact' ? `spiffe://example.org/ns/shop/sa/client-${index}` : `spiffe://example.org/ns/*/sa/client-${index}`;
  return parsePolicy({
    kind: 'AuthorizationPolicy',
    metadata: { name: `policy-${String(index).padStart(5, '0')}`, namespace },
    spec: {
      selector: { matchLabels: { app: 'orders' } },
      action: index % 10 === 0 ? 'DENY' : 'ALLOW',
      rules: [
        {
          from: [{ spiffeIDs: [id] }],
          to: [{ methods: ['GET', 'POST'], paths: [{ template: `/v${index}/orders/{id}` }, { prefix: '/health' }] }],
        },
      ],
    },
  });
}

const destination: Destination = {
  namespace: 'shop',
  serviceAccount: 'orders',
  spiffeId: parseSpiffeId('spiffe://example.org/ns/shop/sa/orders'),
  selectors: new Set(['k8s:ns:shop', 'k8s:sa:orders', 'k8s:pod-label:app:orders', 'k8s:pod-label:tier:back']),
  port: 8443,
};

/** Allowed and denied ones, of known and unknown callers. */
function callsOf(): readonly Call[] {
  return Array.from({ length: 128 }, (_, index) => {
    const spiffeId = parseSpiffeId(`spiffe://example.org/ns/shop/sa/client-${index}`);
    const target = index % 3 === 0 ? '/health/live' : `/v${index}/orders/4711`;
    const normalized = normalizeRequest({ method: 'GET', target, authority: 'orders.shop', headers: [['accept', '*/*']] });
    return { source: { spiffeId, namespace: 'shop', serviceAccount: `client-${index}` }, destination, ...normalized, atMs: 0 };
  });
}

function updates(snapshot: Snapshot): number[] {
  let current = snapshot;
  return Array.from({ length: 200 }, (_, index) => {
    const changed = policyOf((index * 37) % POLICIES, index % 2 === 0 ? 'pattern' : 'exact');
    return timed(() => {
      current = current.with({ set: [changed] });
    });
  });
}

/** What stays after as many decisions, once what is garbage is gone. */
function heapGrowthMib(snapshot: Snapshot): number {
  const calls = callsOf();
  const run = (count: number): void => {
    for (let index = 0; index < count; index += 1) decide(snapshot, calls[index & 127] ?? never());
  };
  run(100_000);
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  run(DECISIONS);
  collectGarbage();
  return Math.max(0, process.memoryUsage().heapUsed - before) / 2 ** 20;
}

/** Node offers this on demand only. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
}

function timed(work: () => unknown): number {
  const startedMs = systemClock.monotonicMs();
  work();
  return systemClock.monotonicMs() - startedMs;
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function never(): never {
  throw new Error('there are calls');
}
