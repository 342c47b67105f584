import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Clock, Timer } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Logger } from '../../runtime/log.ts';
import type { SignedX509 } from './sign-order.ts';
import { packJob, unpackResults, type ResultMessage, type WorkerAuthority } from './signing-messages.ts';
import type { X509Order } from './x509-order.ts';

/** What a {@link SigningPool} is made from. */
export interface SigningPoolOptions {
  readonly clock: Clock;
  readonly log?: Logger | undefined;
  /** Most threads; one for each core unless given. */
  readonly workers?: number | undefined;
  /** The program of a thread; another one only in tests. */
  readonly program?: URL | undefined;
}

type Outcome = SignedX509 | IdentityError;

/** A part of a batch, until it is answered. */
interface Job {
  readonly id: number;
  readonly orders: readonly X509Order[];
  readonly authority: WorkerAuthority;
  readonly resolve: (outcomes: readonly Outcome[]) => void;
  readonly reject: (error: IdentityError) => void;
  attempts: number;
}

/** A worker thread and what it has been given. */
interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
  authorityId: string;
  /** Set once its program runs; until then it takes as long as it takes to load. */
  isRunning: boolean;
  timer: Timer | undefined;
}

/** Fewer orders than this are not worth another thread. */
const MIN_PART = 8;
const IDLE_MS = 60_000;
/** A thread that is silent for so long is given up. */
const STUCK_MS = 20_000;
const MAX_ATTEMPTS = 2;
// A certificate is made and forgotten: small heaps are enough, and what they cost is paid for each thread.
const LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 48 } as const;

/**
 * Worker threads that sign batches. They start with the first batch and end after a minute without one. A part of a batch whose
 * thread dies is given to another one once, then fails: nobody waits for ever.
 */
export class SigningPool implements AsyncDisposable {
  readonly #options: SigningPoolOptions;
  /** Most threads. */
  readonly size: number;
  readonly #threads = new Set<Thread>();
  #nextJob = 0;
  #closed = false;

  constructor(options: SigningPoolOptions) {
    this.#options = options;
    this.size = options.workers ?? availableParallelism();
  }

  /** How many threads are running. */
  get running(): number {
    return this.#threads.size;
  }

  /** Whether all that were started are up, so that what is given to them is not held up by their start. */
  get isWarm(): boolean {
    return this.#threads.size > 0 && [...this.#threads].every(({ isRunning }) => isRunning);
  }

  /** Starts so many threads, unless they are up. */
  warmUp(count: number): void {
    while (!this.#closed && this.#threads.size < Math.min(count, this.size)) this.#watch(this.#start());
  }

  /** As {@link sign}, on one thread. */
  signTogether(orders: readonly X509Order[], authority: WorkerAuthority): Promise<readonly Outcome[]> {
    return this.#submit(orders, authority);
  }

  /** Makes and signs every order; results in order. @throws IdentityError `internal` when threads keep dying, `unavailable` when closed */
  async sign(orders: readonly X509Order[], authority: WorkerAuthority): Promise<readonly Outcome[]> {
    const parts = Math.max(1, Math.min(this.size, Math.floor(orders.length / MIN_PART)));
    const bounds = Array.from({ length: parts + 1 }, (_, index) => Math.floor((orders.length * index) / parts));
    const jobs = bounds.slice(1).map((end, index) => this.#submit(orders.slice(bounds[index], end), authority));
    return (await Promise.all(jobs)).flat();
  }

  /** Ends the threads; what they have not answered fails with `unavailable`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const ended = [...this.#threads].map((thread) => this.#end(thread));
    await Promise.all(ended);
  }

  #submit(orders: readonly X509Order[], authority: WorkerAuthority): Promise<readonly Outcome[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Outcome[]>();
    this.#dispatch({ id: this.#nextJob++, orders, authority, resolve, reject, attempts: 0 });
    return promise;
  }

  #dispatch(job: Job): void {
    if (this.#closed) return job.reject(new IdentityError('unavailable', 'the CA is stopping'));
    if (job.attempts >= MAX_ATTEMPTS)
      return job.reject(new IdentityError('internal', 'signing failed: its threads ended unexpectedly'));
    job.attempts++;
    const thread = this.#leastBusy();
    const isKnown = thread.authorityId === job.authority.id;
    thread.authorityId = job.authority.id;
    thread.jobs.set(job.id, job);
    this.#watch(thread);
    const message = packJob(job.id, job.orders, isKnown ? undefined : job.authority);
    thread.worker.postMessage(message, [message.keys.buffer]);
  }

  #leastBusy(): Thread {
    const free = [...this.#threads].sort((a, b) => a.jobs.size - b.jobs.size)[0];
    if (free !== undefined && (free.jobs.size === 0 || this.#threads.size >= this.size)) return free;
    return this.#start();
  }

  #start(): Thread {
    const worker = new Worker(this.#options.program ?? PROGRAM, {
      resourceLimits: LIMITS,
      execArgv: [],
      env: {},
      name: 'signing',
    });
    worker.unref();
    const thread: Thread = { worker, jobs: new Map(), authorityId: '', isRunning: false, timer: undefined };
    worker.on('online', () => {
      thread.isRunning = true;
    });
    worker.on('message', (message: ResultMessage) => this.#answer(thread, message));
    worker.on('error', (err) => this.#options.log?.error({ err }, 'signing thread failed'));
    worker.on('exit', () => this.#lost(thread));
    this.#threads.add(thread);
    return thread;
  }

  #answer(thread: Thread, message: ResultMessage): void {
    const job = thread.jobs.get(message.job);
    thread.jobs.delete(message.job);
    this.#watch(thread);
    job?.resolve(unpackResults(message));
  }

  /** An idle thread ends after a while, a busy one that says nothing is given up. */
  #watch(thread: Thread): void {
    thread.timer?.cancel();
    const limitMs = thread.jobs.size === 0 ? IDLE_MS : STUCK_MS;
    thread.timer = this.#options.clock.setTimer(limitMs, () => void this.#end(thread));
  }

  async #end(thread: Thread): Promise<void> {
    thread.timer?.cancel();
    // Out of the set at once, so that nothing more is given to it.
    this.#threads.delete(thread);
    await thread.worker.terminate();
    this.#lost(thread);
  }

  #lost(thread: Thread): void {
    thread.timer?.cancel();
    this.#threads.delete(thread);
    const jobs = [...thread.jobs.values()];
    thread.jobs.clear();
    for (const job of jobs) this.#dispatch(job);
  }
}

// From a checkout it is this folder's TypeScript; the bundled program has it beside itself as JavaScript.
const PROGRAM = new URL(import.meta.url.endsWith('.ts') ? './signing-worker.ts' : './signing-worker.js', import.meta.url);
