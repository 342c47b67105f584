import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { connectGrpc, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { sleep, systemClock } from '../../core/clock.ts';
import { Health, HealthCheckResponse_ServingStatus } from '../../proto/gen/grpc/health/v1/health_pb.ts';

/** A daemon as the manifests start it: the built bundle, through the command that sets V8's flags. */
export interface Daemon extends AsyncDisposable {
  readonly pid: number;
  /** From start to serving, in milliseconds. */
  readonly startMs: number;
}

const COMMAND = join(import.meta.dirname, '../../dist/countersign.js');

/** Starts `countersign ca|agent run` and waits until its socket says that it serves. */
export async function startDaemon(
  kind: 'ca' | 'agent',
  folder: string,
  options: { readonly config: string; readonly socket: string },
): Promise<Daemon> {
  const configFile = join(folder, `${kind}.yaml`);
  writeFileSync(configFile, options.config);
  const log = openSync(join(folder, `${kind}.log`), 'a');
  const startedMs = systemClock.monotonicMs();
  const child = spawn(process.execPath, [COMMAND, kind, 'run', '--config', configFile], { stdio: ['ignore', log, log] });
  closeSync(log);
  await untilServing(child, options.socket, join(folder, `${kind}.log`));
  return {
    pid: child.pid ?? 0,
    startMs: systemClock.monotonicMs() - startedMs,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

async function untilServing(child: ChildProcess, path: string, logFile: string): Promise<void> {
  using connection = connectGrpc({ target: { kind: 'unix', path }, clock: systemClock });
  for (let attempt = 0; attempt < 3000 && child.exitCode === null; attempt += 1) {
    if (await isServing(connection)) return;
    await sleep(systemClock, 20);
  }
  throw new Error(`it does not serve:\n${readFileSync(logFile, 'utf8').slice(-2000)}`);
}

async function isServing(connection: GrpcConnection): Promise<boolean> {
  try {
    const { status } = await connection.client(Health).check({}, { headers: { 'workload.spiffe.io': 'true' } });
    return status === HealthCheckResponse_ServingStatus.SERVING;
  } catch {
    return false;
  }
}

/** Resident memory of a process in MiB, as the kernel counts it. */
export function residentMib(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) / 1024;
}

/** Processor time that a process has used, all threads, in seconds. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  // utime and stime (proc(5) fields 14 and 15) in ticks of 10 ms.
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
