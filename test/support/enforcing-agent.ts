// An attested agent's end of the stream that has policies in force, as far as the CA can tell: it reads, and acknowledges.
import { Node } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import type { WatchRequestSchema, WatchResponse } from '../../proto/gen/countersign/node/v1/node_pb.ts';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';

type Request = MessageInitShape<typeof WatchRequestSchema>;

/** Reads one answer after the other; acknowledges when it is told to. */
export class EnforcingAgent implements Disposable {
  readonly #stop = new AbortController();
  readonly #responses: AsyncIterator<WatchResponse>;
  #outgoing: Request[] = [];
  #wake: () => void = () => {};

  constructor(connection: GrpcConnection, position: { readonly feedId?: string; readonly resumeRevision?: bigint } = {}) {
    const kinds = ['entry', 'bundle', 'policy', 'workload', 'settings'];
    this.#outgoing.push({ message: { case: 'subscribe', value: { kinds, ...position } } });
    const responses = connection.client(Node).watch(this.#requests(), { signal: this.#stop.signal });
    this.#responses = responses[Symbol.asyncIterator]();
  }

  /** The next complete answer. */
  async next(): Promise<readonly WatchResponse[]> {
    const parts: WatchResponse[] = [];
    do {
      const { value, done } = await this.#responses.next();
      if (done === true) throw new Error('the stream has ended');
      parts.push(value);
    } while (parts.at(-1)?.complete !== true);
    return parts;
  }

  /** Reads until an answer names a resource. @returns that answer */
  async until(name: string): Promise<readonly WatchResponse[]> {
    for (;;) {
      const parts = await this.next();
      if (parts.some(({ resources }) => resources.some((resource) => resource.name === name))) return parts;
    }
  }

  /** Says that all up to an answer is in force. */
  acknowledge(answer: readonly WatchResponse[]): void {
    this.#outgoing.push({ message: { case: 'ack', value: { revision: answer.at(-1)?.revision ?? 0n } } });
    this.#wake();
  }

  /** Says that a policy of an answer cannot be put in force. */
  refuse(answer: readonly WatchResponse[], name: string): void {
    const found = answer.flatMap(({ resources }) => resources).find((resource) => resource.name === name);
    const nack = { kind: 'policy', name, revision: found?.revision ?? 0n, error: 'cannot be read' };
    this.#outgoing.push({ message: { case: 'nack', value: nack } });
    this.#wake();
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#wake();
  }

  async *#requests(): AsyncGenerator<Request> {
    while (!this.#stop.signal.aborted) {
      const request = this.#outgoing.shift();
      if (request !== undefined) yield request;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
