// Run in a pid namespace of its own, as its first process: `unshare --pid --fork --mount-proc node pid-reuse.ts PYTHON
// SOCKET`. A caller connects and dies while a child holds the connection, then another process gets the caller's pid.
// Prints what the connection was attested as before, and with the pid in the hands of the other process.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createUnixAttestor } from '../../agent/workload-attest/unix.ts';
import { systemClock } from '../../core/clock.ts';
import { attested, AttestServer } from './attest-server.ts';
import { UnixCaller } from './unix-caller.ts';

const [python = '', socketPath = ''] = process.argv.slice(2);
await using server = new AttestServer([createUnixAttestor({ clock: systemClock, workloadSizeLimit: -1 })]);
await server.listen(socketPath);
await using caller = new UnixCaller(python, socketPath);
await caller.do('connect');
const workload = await server.accept();
const before = await attested(workload);

const exited = once(caller.process, 'exit');
await caller.do('fork_and_exit');
await exited;
const dead = await attested(workload);

const thief = await processWithPid(workload.pid);
const command = readFileSync(`/proc/${workload.pid}/comm`, 'utf8').trim();
const reused = await attested(workload);
thief.kill('SIGKILL');
process.stdout.write(`${JSON.stringify({ pid: workload.pid, before, dead, command, reused })}\n`);

async function processWithPid(pid: number) {
  for (let attempt = 0; attempt < 50; attempt++) {
    // The next process of this namespace gets the number after this one; Node's own threads take numbers too.
    writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    if (child.pid === pid) return child;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  throw new Error(`no process got the pid ${pid}`);
}
