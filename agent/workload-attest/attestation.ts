import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import { PeerProcess } from '../../runtime/peer-credentials.ts';
import type { WorkloadAttestor } from './attestor.ts';
import { FailureLog } from './failure-log.ts';
import { ProcessReader } from './process-image.ts';
import { type AttestationContext, type AttestationObserver, AttestedWorkload, type Workload } from './workload.ts';

export type { Workload } from './workload.ts';

/** What a {@link WorkloadAttestation} is made of. */
export interface WorkloadAttestationOptions {
  readonly attestors: readonly WorkloadAttestor[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly observe?: AttestationObserver;
  /** Reads `/proc` unless given. */
  readonly reader?: ProcessReader;
}

/**
 * Tells who is calling; one for the agent.
 *
 * @example
 * const attestation = new WorkloadAttestation({ attestors, clock, log });
 * const workload = attestation.accept(socket);             // for each connection
 * const selectors = await workload.attest(call.signal);    // at the start of each call on it
 */
export class WorkloadAttestation implements Disposable {
  readonly #attestors: readonly WorkloadAttestor[];
  readonly #context: AttestationContext;

  constructor({ attestors, clock, log, reader, observe }: WorkloadAttestationOptions) {
    const withCgroups = attestors.some((each) => each.needsCgroups);
    this.#attestors = attestors;
    this.#context = {
      attestors,
      clock,
      observe: observe ?? (() => {}),
      failures: new FailureLog(log, clock),
      reader: reader ?? new ProcessReader({ withCgroups }),
    };
  }

  /**
   * Takes hold of the process at the other end of a unix socket, in the `connection` callback; lets go when the socket
   * closes. Never throws: a process that cannot be told is refused at each {@link Workload.attest}, with the reason.
   */
  accept(socket: Socket): Workload {
    try {
      return new AttestedWorkload(PeerProcess.ofSocket(socket), this.#context);
    } catch (error) {
      this.#context.failures.failed('accept', error, 'caller refused');
      return new RefusedWorkload(error);
    }
  }

  /**
   * A process named by its pid, for callers that are trusted to name one; dispose of it.
   *
   * @throws IdentityError `not_found`, `invalid_argument`
   */
  ofPid(pid: number): Workload {
    return new AttestedWorkload(PeerProcess.ofPid(pid), this.#context);
  }

  [Symbol.dispose](): void {
    for (const attestor of this.#attestors) attestor.close?.();
  }
}

class RefusedWorkload implements Workload {
  readonly pid = 0;
  readonly #reason: unknown;

  constructor(reason: unknown) {
    this.#reason = reason;
  }

  inspect(): never {
    throw this.#reason;
  }

  attest(): never {
    throw this.#reason;
  }

  [Symbol.dispose](): void {}
}
