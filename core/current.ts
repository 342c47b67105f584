/** Something that has a current value and tells of its changes. */
export interface Source<T> {
  /** The value now. */
  readonly value: T;
  /** Calls `listener` with each later value, synchronously with the change. Returns the function that ends it. */
  subscribe(listener: (value: T) => void): () => void;
}

/**
 * A current value with its changes. A slow reader of {@link changes} never sees a stale value and never holds a queue:
 * values that it had no time for are skipped, the newest is always delivered.
 *
 * @example
 * const bundle = new Current(initial);
 * for await (const value of bundle.changes(signal)) use(value); // first the present value, then each newer one
 */
export class Current<T> implements Source<T> {
  #value: T;
  readonly #listeners = new Set<(value: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /** Replaces the value and tells every listener; a value identical to the present one (`Object.is`) is no change. */
  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of this.#listeners) listener(value);
  }

  subscribe(listener: (value: T) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The present value, then the newest one after each change, until the signal aborts (which ends it without an error). */
  changes(signal: AbortSignal): AsyncGenerator<T, void, undefined> {
    return changesOf(this, signal);
  }
}

/** The present value of a source, then the newest one after each change, until the signal aborts. */
export async function* changesOf<T>(source: Source<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  let dirty = true;
  let wake: () => void = () => {};
  const unsubscribe = source.subscribe(() => {
    dirty = true;
    wake();
  });
  const onAbort = (): void => wake();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    while (!signal.aborted) {
      if (dirty) {
        dirty = false;
        yield source.value;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', onAbort);
  }
}
