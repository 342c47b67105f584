import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import type { Source } from '../../core/current.ts';
import type { Call } from './call.ts';
import type { EncodedMessage } from './encoded-message.ts';

/** An answer: a message (or what it is made from), or one that is already encoded. */
export type Answer<O extends DescMessage> = MessageInitShape<O> | EncodedMessage;

/**
 * A stream of answers. An async iterable is pulled only while the caller reads. A {@link Source} sends its value now and the
 * newest after each change, leaving out those that the caller was too slow for, until the call ends; it costs no generator.
 */
export type Answers<O extends DescMessage> = AsyncIterable<Answer<O>> | Source<Answer<O>>;

type Unary<I extends DescMessage, O extends DescMessage, P> = (
  request: MessageShape<I>,
  call: Call<P>,
) => Answer<O> | Promise<Answer<O>>;

type ServerStreaming<I extends DescMessage, O extends DescMessage, P> = (
  request: MessageShape<I>,
  call: Call<P>,
) => Answers<O> | Promise<Answers<O>>;

type ClientStreaming<I extends DescMessage, O extends DescMessage, P> = (
  requests: AsyncIterable<MessageShape<I>>,
  call: Call<P>,
) => Answer<O> | Promise<Answer<O>>;

type BidiStreaming<I extends DescMessage, O extends DescMessage, P> = (
  requests: AsyncIterable<MessageShape<I>>,
  call: Call<P>,
) => Answers<O> | Promise<Answers<O>>;

/** The handler of one method, by its kind. */
export type Handler<M, P> =
  M extends DescMethodUnary<infer I, infer O>
    ? Unary<I, O, P>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? ServerStreaming<I, O, P>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? ClientStreaming<I, O, P>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? BidiStreaming<I, O, P>
          : never;

/** The handlers of a service, by the local names of its methods. A method without one answers UNIMPLEMENTED. */
export type ServiceHandlers<S extends DescService, P> = { [K in keyof S['method']]?: Handler<S['method'][K], P> };

/** A handler whose types were checked when its service was added. */
export type AnyHandler<P> = (request: unknown, call: Call<P>) => unknown;

/** One registered method. */
export interface Method<P> {
  readonly path: string;
  readonly desc: DescMethod;
  readonly handle: AnyHandler<P>;
  /** Its calls last until somebody ends them: a server that stops does not wait for them. */
  readonly standing: boolean;
}

/** What is to be known of a service besides its handlers. */
export interface ServiceOptions<S extends DescService> {
  /**
   * Bidirectional methods whose calls last until somebody ends them, by local name: when the server stops they end at once.
   * (Methods that only the server streams of are always taken for such.)
   */
  readonly standing?: readonly (keyof S['method'])[];
}

/** The methods of a service that have a handler. */
export function methodsOf<S extends DescService, P>(
  desc: S,
  handlers: ServiceHandlers<S, P>,
  options: ServiceOptions<S> = {},
): Method<P>[] {
  const named: ReadonlySet<unknown> = new Set(options.standing);
  return desc.methods.flatMap((method) => {
    // The cast is sound: ServiceHandlers maps each local name of the descriptor to a handler of that method's types.
    const handler = (handlers as Record<string, AnyHandler<P> | undefined>)[method.localName];
    if (handler === undefined) return [];
    const handle = handler.bind(handlers);
    const standing = method.methodKind === 'server_streaming' || named.has(method.localName);
    return [{ path: `/${desc.typeName}/${method.name}`, desc: method, handle, standing }];
  });
}
