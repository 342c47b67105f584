// A workload of a running agent: holds one stream, and asks again and again on connections of its own.
import { systemClock } from '../../core/clock.ts';
import { SpiffeWorkloadAPI, type X509SVIDResponse } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { connectGrpc, toIdentityError } from '../../runtime/grpc-client.ts';
import { splitDer } from '../../spiffe/der.ts';

/** The metadata that every call on the workload socket needs (SPIFFE Workload Endpoint, section 4). */
export const WORKLOAD_HEADERS = { 'workload.spiffe.io': 'true' };

/** How many fetches succeeded and how others failed. */
export interface FetchTally {
  ok: number;
  readonly failures: string[];
}

/** The first answer of FetchX509SVID on a new connection. */
export async function fetchX509(socket: string): Promise<X509SVIDResponse> {
  using connection = connectGrpc({ target: { kind: 'unix', path: socket }, clock: systemClock });
  const client = connection.client(SpiffeWorkloadAPI);
  for await (const response of client.fetchX509SVID({}, { headers: WORKLOAD_HEADERS, timeoutMs: 10_000 })) return response;
  throw new Error('the stream ended without an answer');
}

/** The certificates of an answer, leaf first, by SVID. */
export function chainsIn(response: X509SVIDResponse): readonly (readonly Uint8Array[])[] {
  return response.svids.map(({ x509Svid }) => splitDer(x509Svid));
}

/** A workload that is never content. */
export class Workload implements Disposable {
  readonly tally: FetchTally = { ok: 0, failures: [] };
  /** What the held stream pushed last. */
  latest: X509SVIDResponse | undefined;
  readonly #socket: string;
  readonly #onResponse: (response: X509SVIDResponse) => void;
  readonly #stop = new AbortController();
  #arrival = Promise.withResolvers<void>();
  /** Why the held stream is no more. */
  #end: string | undefined;

  constructor(socket: string, onResponse: (response: X509SVIDResponse) => void = () => {}) {
    this.#socket = socket;
    this.#onResponse = onResponse;
    void this.#hold();
  }

  /** Fetches every `pauseMs` until disposed of. */
  async keepFetching(pauseMs: number): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        this.#onResponse(await fetchX509(this.#socket));
        this.tally.ok += 1;
      } catch (error) {
        const { code, message } = toIdentityError(error);
        if (!this.#stop.signal.aborted) this.tally.failures.push(`${code}: ${message}`);
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  /** Waits until the held stream has pushed what is looked for. @throws Error when it ends before */
  async pushed(predicate: (response: X509SVIDResponse) => boolean): Promise<void> {
    while (this.latest === undefined || !predicate(this.latest)) {
      if (this.#end !== undefined) throw new Error(this.#end);
      await this.#arrival.promise;
    }
  }

  async #hold(): Promise<void> {
    using connection = connectGrpc({ target: { kind: 'unix', path: this.#socket }, clock: systemClock });
    const { signal } = this.#stop;
    try {
      const responses = connection.client(SpiffeWorkloadAPI).fetchX509SVID({}, { headers: WORKLOAD_HEADERS, signal });
      for await (const response of responses) {
        this.latest = response;
        this.#onResponse(response);
        this.#arrival.resolve();
        this.#arrival = Promise.withResolvers();
      }
      this.#end = 'the held stream ended';
    } catch (error) {
      this.#end = `the held stream failed: ${toIdentityError(error).message}`;
    }
    if (!signal.aborted) this.tally.failures.push(this.#end);
    this.#arrival.resolve();
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }
}
