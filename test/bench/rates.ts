// Rates of issuing, fetching and validating: both systems, interleaved, with the same client.
import { join } from 'node:path';

import { runLoad, type LoadResult } from './load.ts';
import { residentMib } from './daemon.ts';
import type { Figure } from './report.ts';
import { createEntries, type Agent, type Server, type Stack } from './stacks.ts';

interface Row {
  readonly what: string;
  readonly name: string;
  readonly callers: number;
  /** SVIDs or entries in a call. */
  readonly units?: number;
  readonly atLeast: number;
}

// The targets are the project's own, from the SPIRE figures of the machine that it was planned on.
const ROWS: readonly Row[] = [
  { what: 'MintX509SVID, 1 caller', name: 'mint-x509', callers: 1, atLeast: 640 },
  { what: 'MintX509SVID, 16 callers', name: 'mint-x509', callers: 16, atLeast: 2420 },
  { what: 'MintJWTSVID, 1 caller', name: 'mint-jwt', callers: 1, atLeast: 809 },
  { what: 'MintJWTSVID, 16 callers', name: 'mint-jwt', callers: 16, atLeast: 3671 },
  { what: 'FetchX509SVID, new connections, 1 caller', name: 'fetch-x509-new', callers: 1, atLeast: 396 },
  { what: 'FetchX509SVID, new connections, 16 callers', name: 'fetch-x509-new', callers: 16, atLeast: 980 },
  { what: 'FetchX509SVID, kept connection, 1 caller', name: 'fetch-x509', callers: 1, atLeast: 914 },
  { what: 'FetchX509SVID, kept connections, 16 callers', name: 'fetch-x509', callers: 16, atLeast: 3774 },
  { what: 'FetchJWTSVID (cached), 1 caller', name: 'fetch-jwt', callers: 1, atLeast: 924 },
  { what: 'FetchJWTSVID (cached), 16 callers', name: 'fetch-jwt', callers: 16, atLeast: 4136 },
  { what: 'ValidateJWTSVID, 1 caller', name: 'validate-jwt', callers: 1, atLeast: 743 },
  { what: 'ValidateJWTSVID, 16 callers', name: 'validate-jwt', callers: 16, atLeast: 3074 },
  { what: 'BatchNewX509SVID of 50, SVIDs, 1 caller', name: 'batch-x509', callers: 1, atLeast: 1400 },
  { what: 'BatchNewX509SVID of 50, SVIDs, 4 callers', name: 'batch-x509', callers: 4, atLeast: 4000 },
  { what: 'BatchCreateEntry of 100, entries', name: 'create-entries', callers: 1, atLeast: 5000 },
];

interface Running {
  readonly stack: Stack;
  readonly server: Server;
  readonly agent: Agent;
}

/** Measures every row on every stack, one after the other, and the memory of both processes after the fetches. */
export async function measureRates(stacks: readonly Stack[], folder: string, seconds: number): Promise<Figure[]> {
  await using resources = new AsyncDisposableStack();
  const running: Running[] = [];
  for (const stack of stacks) {
    const server = resources.use(await stack.startServer(join(folder, `${stack.name}-server`)));
    const agent = resources.use(await stack.startAgent(join(folder, `${stack.name}-agent`), server));
    await createEntries(server, { parentId: agent.id, count: 1, selector: () => `unix:uid:${process.getuid?.() ?? 0}` });
    running.push({ stack, server, agent });
  }
  const figures: Figure[] = [];
  for (const row of ROWS) {
    const results = new Map<string, LoadResult>();
    for (const { stack, server, agent } of running) {
      results.set(stack.name, await runLoad({ name: row.name, server, agent, callers: row.callers, seconds }));
    }
    figures.push(figureOf(row, results));
    process.stderr.write(
      `  ${row.what}: ${[...results].map(([name, { rate }]) => `${name} ${Math.round(rate)}/s`).join(', ')}\n`,
    );
    if (row.name === 'validate-jwt' && row.callers === 16) figures.push(...memoryFigures(running));
  }
  return figures;
}

function figureOf({ what, atLeast }: Row, results: ReadonlyMap<string, LoadResult>): Figure {
  const ours = results.get('countersign');
  const peer = results.get('spire');
  return {
    section: 'rate',
    what,
    unit: '/s',
    countersign: ours?.rate ?? 0,
    ...(peer === undefined ? {} : { spire: peer.rate }),
    target: { atLeast },
    note: `p50 ${ours?.p50Ms.toFixed(2)} ms, p99 ${ours?.p99Ms.toFixed(2)} ms${ours?.errors ? `, ${ours.errors} ERRORS` : ''}`,
  };
}

/** Memory after the fetch and validate rows, in MiB. */
function memoryFigures(running: readonly Running[]): Figure[] {
  const of = (name: string, read: (each: Running) => number): number | undefined => {
    const each = running.find(({ stack }) => stack.name === name);
    return each === undefined ? undefined : residentMib(read(each));
  };
  const rows = [
    { what: 'agent after these rows', read: ({ agent }: Running) => agent.pid, atMost: 107 },
    { what: 'server after these rows', read: ({ server }: Running) => server.pid, atMost: 185 },
  ];
  return rows.map(({ what, read, atMost }) => {
    const peer = of('spire', read);
    return {
      section: 'memory',
      what,
      unit: 'MiB',
      countersign: of('countersign', read) ?? 0,
      ...(peer === undefined ? {} : { spire: peer }),
      target: { atMost },
    };
  });
}
