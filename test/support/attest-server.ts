// Serves a unix socket that answers each byte with what the caller was attested as. Also a program of its own, for tests
// that put the server into a namespace: `node attest-server.ts SOCKET`.
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { pino } from 'pino';
import { WorkloadAttestation, type Workload } from '../../agent/workload-attest/attestation.ts';
import type { WorkloadAttestor } from '../../agent/workload-attest/attestor.ts';
import { createUnixAttestor } from '../../agent/workload-attest/unix.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';

/** What a workload was attested as: its selectors, or the code of the refusal. */
export type Attested = readonly string[] | string;

/** Attests a workload, as an RPC would at its start. */
export async function attested(workload: Workload): Promise<Attested> {
  try {
    return (await workload.attest(new AbortController().signal)).texts;
  } catch (error) {
    return isIdentityError(error) ? error.code : String(error);
  }
}

/** A unix socket whose connections are attested; stands for the gRPC server. */
export class AttestServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #attestation: WorkloadAttestation;
  readonly #waiting: ((workload: Workload) => void)[] = [];
  readonly #accepted: Workload[] = [];
  readonly #sockets: Socket[] = [];

  constructor(attestors: readonly WorkloadAttestor[], clock: Clock = systemClock) {
    const log = pino({ level: 'silent' });
    this.#attestation = new WorkloadAttestation({ attestors, clock, log });
    this.#server = createServer((socket) => {
      const workload = this.#attestation.accept(socket);
      socket.on('error', () => {});
      this.#sockets.push(socket);
      socket.on('data', () => void attested(workload).then((found) => socket.write(`${JSON.stringify(found)}\n`)));
      const next = this.#waiting.shift();
      if (next === undefined) this.#accepted.push(workload);
      else next(workload);
    });
  }

  async listen(path: string): Promise<void> {
    this.#server.listen(path);
    await once(this.#server, 'listening');
  }

  /** Each connection once, in the order in which they came. */
  accept(): Promise<Workload> {
    const workload = this.#accepted.shift();
    return workload === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(workload);
  }

  /** Closes the oldest connection that is left. */
  closeOldest(): void {
    this.#sockets.shift()?.destroy();
  }

  ofPid(pid: number): Workload {
    return this.#attestation.ofPid(pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#attestation[Symbol.dispose]();
  }
}

if (import.meta.main) {
  const server = new AttestServer([createUnixAttestor({ clock: systemClock })]);
  await server.listen(process.argv[2] ?? '');
  process.stdout.write(`${process.pid}\n`);
}
