/** Runs asynchronous tasks one after the other, in order. */
export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();

  /** Runs the task once all earlier ones ended; its failure is the caller's only. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Resolves when everything that was queued so far has ended. */
  async idle(): Promise<void> {
    await this.#tail;
  }
}
