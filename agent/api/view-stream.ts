import type { Source } from '../../core/current.ts';
import type { IdentityError } from '../../core/errors.ts';
import type { EncodedMessage } from '../../runtime/grpc/encoded-message.ts';
import type { IdentityView, WorkloadIdentities } from '../cache/identities.ts';
import type { WorkloadCall } from './workload-call.ts';

/** What a stream of full states shows of a view. */
export interface Projection {
  /** Encodes the full state; called once for each value, whatever the number of callers. */
  readonly encode: (identities: WorkloadIdentities) => EncodedMessage;
  /** Why the stream must end now; undefined when it goes on. */
  readonly refusal: (identities: WorkloadIdentities) => IdentityError | undefined;
  /** Whether there is nothing to send yet, and soon will be. */
  readonly isWaiting: (identities: WorkloadIdentities) => boolean;
}

/** A projection whose messages are encoded once and shared by all callers that look alike. */
export function sharedProjection(projection: Projection): Projection {
  const encoded = new WeakMap<WorkloadIdentities, EncodedMessage>();
  return {
    ...projection,
    encode(identities) {
      let message = encoded.get(identities);
      if (message === undefined) encoded.set(identities, (message = projection.encode(identities)));
      return message;
    },
  };
}

/**
 * The answers of one call: the full state at once, and again when what the caller sees has changed. It ends the call when the
 * caller is no longer entitled to anything (Workload API §4.3, §5.2.1).
 */
export class ViewStream implements Source<EncodedMessage> {
  readonly #view: IdentityView;
  readonly #projection: Projection;
  readonly #call: WorkloadCall;
  #sent: EncodedMessage;

  private constructor(view: IdentityView, projection: Projection, call: WorkloadCall) {
    this.#view = view;
    this.#projection = projection;
    this.#call = call;
    this.#sent = projection.encode(view.value);
  }

  /** Starts a stream, after waiting for what is about to be signed. @throws IdentityError what the projection refuses with */
  static open(view: IdentityView, projection: Projection, call: WorkloadCall): ViewStream | Promise<ViewStream> {
    if (projection.isWaiting(view.value)) return ViewStream.#afterWaiting(view, projection, call);
    const refusal = projection.refusal(view.value);
    if (refusal !== undefined) throw refusal;
    return new ViewStream(view, projection, call);
  }

  static async #afterWaiting(view: IdentityView, projection: Projection, call: WorkloadCall): Promise<ViewStream> {
    await new Promise<void>((resolve) => {
      const unsubscribe = view.subscribe((identities) => {
        if (!projection.isWaiting(identities)) done();
      });
      const done = (): void => {
        unsubscribe();
        resolve();
      };
      call.onEnd(done);
    });
    return call.ended ? new ViewStream(view, projection, call) : ViewStream.open(view, projection, call);
  }

  get value(): EncodedMessage {
    return this.#sent;
  }

  subscribe(listener: (value: EncodedMessage) => void): () => void {
    return this.#view.subscribe((identities) => this.#onChange(identities, listener));
  }

  #onChange(identities: WorkloadIdentities, listener: (value: EncodedMessage) => void): void {
    if (this.#projection.isWaiting(identities)) return;
    const refusal = this.#projection.refusal(identities);
    if (refusal !== undefined) return this.#call.fail(refusal);
    const message = this.#projection.encode(identities);
    if (message === this.#sent || Buffer.compare(message.frame, this.#sent.frame) === 0) return;
    this.#sent = message;
    listener(message);
  }
}
