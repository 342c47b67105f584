import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { PeerProcess } from '../../runtime/peer-credentials.ts';
import { type Selector, SelectorSet } from '../cache/selectors.ts';
import type { WorkloadAttestor } from './attestor.ts';
import type { FailureLog } from './failure-log.ts';
import { ended, type ProcessImage, type ProcessReader, sameImage } from './process-image.ts';

// An attestor that failed is asked again after this long, so that an engine that is down costs one attempt a second.
const RETRY_FAILED_MS = 1000;
// An attestor that waits for something on the machine (an engine, a bus) does without it after this long.
const ATTESTOR_TIMEOUT_MS = 5000;

/** The process behind one connection, or one that the private admin socket named by pid. */
export interface Workload extends Disposable {
  /** 0 when it could not be told. */
  readonly pid: number;
  /**
   * The process's selectors. Call it at the start of each RPC: the process may have become another program since. While
   * nothing changed the answer comes at once, without a promise, and is the identical set.
   *
   * @throws IdentityError `permission_denied` when the process has ended, runs in a foreign pid namespace, or changed its
   *   user or group since it connected; `unavailable` when it cannot be inspected now; the signal's reason when it aborts
   */
  attest(signal: AbortSignal): SelectorSet | Promise<SelectorSet>;
  /** What the process is now; for `why PID`. Throws as {@link attest}. */
  inspect(): ProcessImage;
}

/** What all workloads of one agent share. */
export interface AttestationContext {
  readonly attestors: readonly WorkloadAttestor[];
  readonly clock: Clock;
  readonly failures: FailureLog;
  readonly reader: ProcessReader;
  /** Told how long an attestor took, and whether it failed. */
  readonly observe: AttestationObserver;
}

/** Is told of each attestor that was asked: its name, how long it took in milliseconds, and whether it answered. */
export type AttestationObserver = (attestor: string, durationMs: number, ok: boolean) => void;

/** A set of selectors, the image they are of, and until when they hold (monotonic). */
interface Answer {
  readonly image: ProcessImage;
  readonly selectors: SelectorSet;
  readonly freshUntilMs: number;
}

/** What one attestor said: selectors, or why it has none. */
interface Finding {
  readonly attestor: string;
  readonly selectors: readonly Selector[];
  readonly freshForMs: number;
  readonly error?: unknown;
}

/** A process that is held, with the last answer about it. See docs/decisions/0002 for what makes an answer reusable. */
export class AttestedWorkload implements Workload {
  readonly #peer: PeerProcess;
  readonly #context: AttestationContext;
  #answer: Answer | undefined;
  /** Calls that begin while the attestors are at work share what they find. */
  #pending: { readonly image: ProcessImage; readonly selectors: Promise<SelectorSet> } | undefined;

  constructor(peer: PeerProcess, context: AttestationContext) {
    this.#peer = peer;
    this.#context = context;
  }

  get pid(): number {
    return this.#peer.pid;
  }

  inspect(): ProcessImage {
    const image = this.#context.reader.read(this.#peer.pid, this.#answer?.image);
    // The order is the guard: only a process that still lives after the read can be the one that was read.
    if (!this.#peer.isAlive()) throw ended(this.#peer.pid);
    this.#requireSameUser(image);
    return image;
  }

  attest(signal: AbortSignal): SelectorSet | Promise<SelectorSet> {
    const image = this.inspect();
    const answer = this.#answer;
    if (answer?.image === image && this.#context.clock.monotonicMs() < answer.freshUntilMs) return answer.selectors;
    const pending = this.#pending;
    const selectors = pending !== undefined && sameImage(pending.image, image) ? pending.selectors : this.#ask(image);
    return selectors instanceof Promise ? untilAborted(selectors, signal) : selectors;
  }

  [Symbol.dispose](): void {
    this.#peer.close();
  }

  /**
   * The kernel froze user and group at `connect()`. A program that a caller executes with more rights than its own (set-uid)
   * keeps the pid and the caller's connection, which must not speak for that program.
   */
  #requireSameUser(image: ProcessImage): void {
    const connected = this.#peer.credentials;
    if (connected === undefined || (connected.uid === image.uid && connected.gid === image.gid)) return;
    throw new IdentityError(
      'permission_denied',
      `the calling process (pid ${image.pid}) changed its user or group since it connected; connect again`,
    );
  }

  #ask(image: ProcessImage): SelectorSet | Promise<SelectorSet> {
    const findings = this.#context.attestors.map((attestor) => this.#askOne(attestor, image));
    // What is found at once was found of what was just inspected.
    if (findings.every(isSettled)) return this.#conclude(image, findings);
    const selectors = this.#concludeLater(image, findings).finally(() => {
      if (this.#pending?.selectors === selectors) this.#pending = undefined;
    });
    this.#pending = { image, selectors };
    return selectors;
  }

  #askOne(attestor: WorkloadAttestor, image: ProcessImage): Finding | Promise<Finding> {
    const { clock, observe } = this.#context;
    const beganAtMs = clock.monotonicMs();
    const observed = (finding: Finding): Finding => {
      observe(attestor.name, clock.monotonicMs() - beganAtMs, finding.error === undefined);
      return finding;
    };
    const timeout = new AbortController();
    const finding = ask(attestor, image, timeout.signal);
    if (isSettled(finding)) return observed(finding);
    const { timeoutMs = ATTESTOR_TIMEOUT_MS } = attestor;
    const expire = (): void => timeout.abort(new IdentityError('deadline_exceeded', `no answer within ${timeoutMs / 1000} s`));
    const timer = clock.setTimer(timeoutMs, expire);
    return finding.then(observed).finally(() => timer.cancel());
  }

  /** While an attestor waited, the process may have ended or become another program: what was found must still hold. */
  async #concludeLater(image: ProcessImage, findings: readonly (Finding | Promise<Finding>)[]): Promise<SelectorSet> {
    const settled = await Promise.all(findings.map(async (finding) => finding));
    const now = this.inspect();
    if (sameImage(image, now)) return this.#conclude(image, settled);
    throw new IdentityError('unavailable', `the calling process (pid ${image.pid}) changed while it was attested; try again`);
  }

  #conclude(image: ProcessImage, findings: readonly Finding[]): SelectorSet {
    const { clock, failures } = this.#context;
    for (const { attestor, error } of findings) {
      if (error === undefined) failures.worked(attestor);
      else failures.failed(attestor, error, 'workload attestor failed');
    }
    const found = SelectorSet.of(findings.flatMap((finding) => finding.selectors));
    const selectors = this.#answer?.selectors.key === found.key ? this.#answer.selectors : found;
    const freshForMs = Math.min(...findings.map((finding) => finding.freshForMs));
    this.#answer = { image, selectors, freshUntilMs: clock.monotonicMs() + freshForMs };
    return selectors;
  }
}

/** A failing attestor costs its own selectors only, as in SPIRE: fewer selectors never match more entries. */
function ask(attestor: WorkloadAttestor, image: ProcessImage, signal: AbortSignal): Finding | Promise<Finding> {
  const { name, freshForMs } = attestor;
  const found = (selectors: readonly Selector[]): Finding => ({ attestor: name, selectors, freshForMs });
  const failed = (error: unknown): Finding => ({ attestor: name, selectors: [], freshForMs: RETRY_FAILED_MS, error });
  try {
    const selectors = attestor.attest(image, signal);
    return selectors instanceof Promise ? selectors.then(found, failed) : found(selectors);
  } catch (error) {
    return failed(error);
  }
}

function isSettled(finding: Finding | Promise<Finding>): finding is Finding {
  return !(finding instanceof Promise);
}

/** The promise's outcome, or the signal's reason as soon as it aborts. The work goes on for others that share it. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
