import { Backoff } from '../core/backoff.ts';
import { sleep, systemClock, type Clock } from '../core/clock.ts';
import { Current, type Source } from '../core/current.ts';
import { isIdentityError, type IdentityError } from '../core/errors.ts';
import { WorkloadApi, type WorkloadApiOptions } from './workload-api.ts';
import type { X509Context } from './x509-context.ts';

/** How an {@link X509Source} gets and keeps its context. */
export interface X509SourceOptions extends WorkloadApiOptions {
  readonly clock?: Clock;
  /** Gives up waiting for the first context; the source itself lives until it is disposed of. */
  readonly signal?: AbortSignal;
  /** Told of each failure after which the source tries again. */
  readonly onError?: (error: IdentityError) => void;
}

/**
 * The workload's X.509 context, always current: the agent pushes each rotation, and a lost agent is reconnected to with
 * full-jitter backoff while the last context stays in use.
 *
 * @example
 * await using source = await X509Source.open();
 * https.request({ host, port, ...tlsOptions(source, { authorize: authorizeId('spiffe://example.org/db') }) });
 */
export class X509Source implements Source<X509Context>, AsyncDisposable {
  readonly #current: Current<X509Context>;
  readonly #stop: AbortController;
  readonly #watching: Promise<void>;

  private constructor(current: Current<X509Context>, stop: AbortController, watching: Promise<void>) {
    this.#current = current;
    this.#stop = stop;
    this.#watching = watching;
  }

  /**
   * Connects and waits for the first context.
   *
   * @throws IdentityError `invalid_argument` when no agent is named or it speaks another protocol
   * @throws the signal's reason when it aborts first; an agent that is not ready yet, or has no identity for this workload
   * yet, is waited for
   */
  static async open(options: X509SourceOptions = {}): Promise<X509Source> {
    const api = new WorkloadApi(options);
    const stop = new AbortController();
    const opened = Promise.withResolvers<Current<X509Context>>();
    let current: Current<X509Context> | undefined;
    const onContext = (context: X509Context): void => {
      if (current === undefined) opened.resolve((current = new Current(context)));
      else current.set(context);
    };
    const watching = follow({ api, stop: stop.signal, onContext, options })
      .catch(opened.reject)
      .finally(() => api[Symbol.dispose]());
    const giveUp = (): void => opened.reject(options.signal?.reason);
    options.signal?.addEventListener('abort', giveUp, { once: true });
    try {
      options.signal?.throwIfAborted();
      return new X509Source(await opened.promise, stop, watching);
    } catch (error) {
      stop.abort();
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', giveUp);
    }
  }

  get value(): X509Context {
    return this.#current.value;
  }

  subscribe(listener: (context: X509Context) => void): () => void {
    return this.#current.subscribe(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }
}

interface Following {
  readonly api: WorkloadApi;
  readonly stop: AbortSignal;
  readonly onContext: (context: X509Context) => void;
  readonly options: X509SourceOptions;
}

/** Watches until told to stop. The standard asks clients to stop on InvalidArgument: asking again would change nothing. */
async function follow({ api, stop, onContext, options }: Following): Promise<void> {
  const backoff = new Backoff({ initialMs: 200, maxMs: 10_000 });
  while (!stop.aborted) {
    try {
      for await (const context of api.watchX509Context(stop)) {
        backoff.reset();
        onContext(context);
      }
    } catch (error) {
      if (!isIdentityError(error) || error.code === 'invalid_argument') throw error;
      options.onError?.(error);
    }
    if (!stop.aborted) await sleep(options.clock ?? systemClock, backoff.nextMs(), stop).catch(() => {});
  }
}
