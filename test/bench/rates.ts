// Rates of issuing, fetching and validating: both systems, one right after the other, with the same client. Each row is measured in
// several rounds, of which each system's best counts: what else runs on the machine only ever takes away.
import { join } from 'node:path';

import { residentMib } from './daemon.ts';
import { opensslSpeed, runLoad, type LoadResult } from './load.ts';
import type { Figure, Target } from './report.ts';
import { createEntries, type Agent, type Server, type Stack } from './stacks.ts';

interface Row {
  readonly what: string;
  readonly name: string;
  readonly callers: number;
  readonly target: Target;
}

const ROWS: readonly Row[] = [
  { what: 'MintX509SVID, 1 caller', name: 'mint-x509', callers: 1, target: { timesSpire: 1 } },
  { what: 'MintX509SVID, 16 callers', name: 'mint-x509', callers: 16, target: { timesSpire: 1.2 } },
  { what: 'MintJWTSVID, 1 caller', name: 'mint-jwt', callers: 1, target: { timesSpire: 1 } },
  { what: 'MintJWTSVID, 16 callers', name: 'mint-jwt', callers: 16, target: { timesSpire: 1.2 } },
  { what: 'FetchX509SVID, new connection, 1 caller', name: 'fetch-x509-new', callers: 1, target: { timesSpire: 1 } },
  { what: 'FetchX509SVID, new connection, 16 callers', name: 'fetch-x509-new', callers: 16, target: { timesSpire: 1 } },
  { what: 'FetchX509SVID, 1 caller', name: 'fetch-x509', callers: 1, target: { timesSpire: 1 } },
  { what: 'FetchX509SVID, 16 callers', name: 'fetch-x509', callers: 16, target: { timesSpire: 1.5 } },
  { what: 'FetchJWTSVID (cached), 1 caller', name: 'fetch-jwt', callers: 1, target: { timesSpire: 1 } },
  { what: 'FetchJWTSVID (cached), 16 callers', name: 'fetch-jwt', callers: 16, target: { timesSpire: 1.5 } },
  { what: 'ValidateJWTSVID, 1 caller', name: 'validate-jwt', callers: 1, target: { timesSpire: 1 } },
  { what: 'ValidateJWTSVID, 16 callers', name: 'validate-jwt', callers: 16, target: { timesSpire: 1.5 } },
];
// After the memory is read: these register entries.
const SIGNING_ROWS: readonly Row[] = [
  { what: 'BatchNewX509SVID of 50, SVIDs, 1 caller', name: 'batch-x509', callers: 1, target: { timesSpire: 1 } },
  { what: 'BatchNewX509SVID of 50, SVIDs, 4 callers', name: 'batch-x509', callers: 4, target: { atLeast: 4000, timesSpire: 1 } },
  { what: 'BatchCreateEntry of 100, entries', name: 'create-entries', callers: 1, target: { atLeast: 5000, timesSpire: 1 } },
];

interface Running {
  readonly stack: Stack;
  readonly server: Server;
  readonly agent: Agent;
}

/** How long and how often each row is measured. */
export interface Effort {
  readonly seconds: number;
  readonly rounds: number;
  /** Part of the names of the rows to measure; empty for all. */
  readonly only: string;
}

/** Measures every row on every stack, and the memory of the processes after the fetches. */
export async function measureRates(stacks: readonly Stack[], folder: string, effort: Effort): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const running: Running[] = [];
  for (const stack of stacks) {
    const server = resources.use(await stack.startServer(join(folder, `${stack.name}-server`)));
    const agent = resources.use(await stack.startAgent(join(folder, `${stack.name}-agent`), server));
    await createEntries(server, { parentId: agent.id, count: 1, selector: () => `unix:uid:${process.getuid?.() ?? 0}` });
    running.push({ stack, server, agent });
  }
  await warmUp(running);
  const figures = await measureLimits();
  for (const row of ROWS.filter(({ what }) => what.includes(effort.only))) figures.push(await measure(row, running, effort));
  figures.push(...memoryFigures(running, figures));
  for (const row of SIGNING_ROWS.filter(({ what }) => what.includes(effort.only)))
    figures.push(await measure(row, running, effort));
  return figures;
}

/** What has run for days has been compiled: both systems get the same load before anything is measured. */
async function warmUp(running: readonly Running[]): Promise<void> {
  for (const { server, agent } of running) {
    for (const { name } of ROWS.filter(({ callers }) => callers > 1)) {
      await runLoad({ name, server, agent, callers: 16, seconds: 1 });
    }
  }
}

async function measureLimits(): Promise<Figure[]> {
  const { signs, verifies } = await opensslSpeed();
  const limit = { section: 'limit', unit: '/s', note: 'one process; no comparison' };
  return [
    { ...limit, what: 'openssl speed ecdsap256: signatures', countersign: signs },
    { ...limit, what: 'openssl speed ecdsap256: verifications', countersign: verifies },
  ];
}

async function measure(row: Row, running: readonly Running[], { seconds, rounds }: Effort): Promise<Figure> {
  const results = new Map<string, LoadResult>();
  for (let round = 0; round < rounds; round += 1) {
    for (const { stack, server, agent } of running) {
      const result = await runLoad({ name: row.name, server, agent, callers: row.callers, seconds });
      if (result.unitsRate > (results.get(stack.name)?.unitsRate ?? 0)) results.set(stack.name, result);
    }
  }
  const shown = [...results].map(([name, { unitsRate }]) => `${name} ${Math.round(unitsRate)}/s`);
  process.stderr.write(`  ${row.what}: ${shown.join(', ')}\n`);
  const ours = results.get('countersign');
  const spire = results.get('spire')?.unitsRate;
  return {
    section: 'rate',
    what: row.what,
    unit: '/s',
    countersign: ours?.unitsRate ?? 0,
    ...(spire === undefined ? {} : { spire }),
    target: row.target,
    note: [...results].map(([name, result]) => describe(name, result)).join('; '),
  };
}

function describe(name: string, { p50Ms, p99Ms, errors }: LoadResult): string {
  return `${name} p50 ${p50Ms.toFixed(2)} p99 ${p99Ms.toFixed(2)} ms${errors > 0 ? `, ${errors} ERRORS` : ''}`;
}

/** Memory after the fetch and validate rows, beside the rate at which they ran. */
function memoryFigures(running: readonly Running[], rates: readonly Figure[]): Figure[] {
  const fetched = rates.find(({ what }) => what === 'FetchX509SVID, 16 callers')?.countersign ?? 0;
  return [
    memoryFigure(
      'agent with one SVID after the fetches',
      107,
      running,
      ({ agent }) => agent.pid,
      `at ${Math.round(fetched)} fetches/s`,
    ),
    memoryFigure('server after the mints', 185, running, ({ server }) => server.pid, ''),
  ];
}

function memoryFigure(
  what: string,
  atMost: number,
  running: readonly Running[],
  pidOf: (each: Running) => number,
  note: string,
): Figure {
  const of = (name: string): number | undefined => {
    const each = running.find(({ stack }) => stack.name === name);
    return each === undefined ? undefined : residentMib(pidOf(each));
  };
  const spire = of('spire');
  return {
    section: 'memory',
    what,
    unit: 'MiB',
    countersign: of('countersign') ?? 0,
    ...(spire === undefined ? {} : { spire }),
    lessIsBetter: true,
    target: { atMost },
    note,
  };
}
