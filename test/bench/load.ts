import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { goProgram } from '../support/toolchain.ts';
import type { Agent, Server } from './stacks.ts';

const execute = promisify(execFile);

/** What the load generator reports of one case. */
export interface LoadResult {
  readonly rate: number;
  /** What the calls made a second: SVIDs or entries of a batch. */
  readonly unitsRate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
}

/** What the load generator reports of the propagation of entries. */
export interface PropagationResult {
  readonly operations: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly removalP50Ms: number;
  readonly removalP99Ms: number;
}

/** One run of the load generator. */
export interface LoadOptions {
  readonly name: string;
  readonly server?: Server;
  readonly agent?: Agent;
  readonly callers?: number;
  readonly seconds?: number;
  readonly operations?: number;
}

/** Runs one case of the load generator (`test/go/cmd/bench`), the same for both systems. */
export async function runLoad<T = LoadResult>({
  name,
  server,
  agent,
  callers = 1,
  seconds = 5,
  operations,
}: LoadOptions): Promise<T> {
  const program = await goProgram('bench');
  const { stdout } = await execute(program, [
    '-case',
    name,
    '-callers',
    String(callers),
    '-duration',
    `${seconds}s`,
    '-warm-up',
    '2s',
    ...(server === undefined ? [] : ['-admin', server.admin, '-server', server.address]),
    ...(agent === undefined ? [] : ['-workload-api', agent.workloadApi, '-parent', agent.id]),
    ...(operations === undefined ? [] : ['-operations', String(operations)]),
  ]);
  // The cast is sound: the program prints the object of its case.
  return JSON.parse(stdout) as T;
}

/** The limit of this machine: P-256 operations per second of OpenSSL in one process. */
export async function opensslSpeed(): Promise<{ readonly signs: number; readonly verifies: number }> {
  const { stdout } = await execute('openssl', ['speed', '-seconds', '3', 'ecdsap256']);
  const [signs, verifies] = stdout.trim().split('\n').at(-1)?.trim().split(/\s+/).slice(-2).map(Number) ?? [];
  return { signs: signs ?? 0, verifies: verifies ?? 0 };
}
