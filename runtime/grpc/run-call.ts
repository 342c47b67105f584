import { create, toBinary, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';
import { constants, type ServerHttp2Stream } from 'node:http2';
import { IdentityError } from '../../core/errors.ts';
import type { Source } from '../../core/current.ts';
import { EncodedMessage, FRAME_HEADER_BYTES } from './encoded-message.ts';
import { FrameReader, type Frame, type HeldBytes } from './frame-reader.ts';
import { readMessage, RequestMessages, type MessageFormat } from './request-messages.ts';
import type { ServerCall } from './server-call.ts';
import type { Method } from './service.ts';
import { INTERNAL, OK, StatusError, UNIMPLEMENTED } from './status.ts';

/** A call that is ready to run. */
export interface Run<P> {
  readonly call: ServerCall<P>;
  readonly method: Method<P>;
  readonly stream: ServerHttp2Stream;
  readonly format: MessageFormat;
  readonly held: HeldBytes;
}

/** Reads the request, runs the handler and sends what it gives, by the kind of the method. */
export function runCall<P>(run: Run<P>): void {
  const { methodKind } = run.method.desc;
  if (methodKind === 'unary' || methodKind === 'server_streaming') readOne(run);
  else readMany(run);
}

// Runs the handler as soon as its one message is complete. A second message, or none, breaks the method's cardinality.
function readOne<P>({ call, method, stream, format, held }: Run<P>): void {
  const reader = new FrameReader(format.maxBytes, held);
  let started = false;
  const take = (frames: readonly Frame[]): void => {
    const [frame] = frames;
    if (frame === undefined) return;
    if (started || frames.length > 1) throw cardinality('more than one message');
    started = true;
    const request = readMessage(frame, format);
    if (request instanceof Promise) {
      request.then((message) => handle({ call, method, request: message })).catch((error: unknown) => call.fail(error));
    } else handle({ call, method, request });
  };
  stream.on('data', (chunk: Uint8Array) => guard(call, () => take(reader.push(chunk))));
  call.onEnd(() => reader.release());
  onComplete(stream, () => {
    if (!reader.idle) call.fail(truncated());
    else if (!started) call.fail(cardinality('no message'));
  });
}

function readMany<P>({ call, method, stream, format, held }: Run<P>): void {
  const reader = new FrameReader(format.maxBytes, held);
  const requests = new RequestMessages(format, stream);
  stream.on('data', (chunk: Uint8Array) => guard(call, () => requests.push(reader.push(chunk))));
  // A stream that is reset while paused would never close: what it holds is thrown away.
  stream.on('aborted', () => {
    call.closed();
    stream.resume();
  });
  onComplete(stream, () => (reader.idle ? requests.end() : call.fail(truncated())));
  call.onEnd(() => {
    reader.release();
    requests.end(new IdentityError('cancelled', 'the call is over'));
  });
  handle({ call, method, request: requests });
}

// A stream that was reset, or whose connection broke, emits 'end' as well: that must not pass for a complete request.
function onComplete(stream: ServerHttp2Stream, complete: () => void): void {
  stream.on('end', () => {
    if (!stream.aborted && stream.rstCode === constants.NGHTTP2_NO_ERROR) complete();
  });
}

function cardinality(found: string): StatusError {
  return new StatusError({ code: UNIMPLEMENTED, message: `the method takes exactly one message, the request has ${found}` });
}

function truncated(): StatusError {
  return new StatusError({ code: INTERNAL, message: 'the request ended in the middle of a message' });
}

function guard<P>(call: ServerCall<P>, work: () => void): void {
  if (call.ended) return;
  try {
    work();
  } catch (error) {
    call.fail(error);
  }
}

interface Ready<P> {
  readonly call: ServerCall<P>;
  readonly method: Method<P>;
  readonly request: unknown;
}

function handle<P>({ call, method, request }: Ready<P>): void {
  guard(call, () => {
    const result = method.handle(request, call);
    if (result instanceof Promise)
      result.then((value) => guard(call, () => send(call, method, value))).catch((error: unknown) => call.fail(error));
    else send(call, method, result);
  });
}

function send<P>(call: ServerCall<P>, method: Method<P>, result: unknown): void {
  const { output, methodKind } = method.desc;
  if (methodKind === 'unary' || methodKind === 'client_streaming') return call.answer(frameOf(output, result));
  // The cast is sound: a streaming handler's type allows nothing but these two.
  const answers = result as AsyncIterable<unknown> | Source<unknown>;
  if ('subscribe' in answers) follow(call, output, answers);
  else pump(call, output, answers).catch((error: unknown) => call.fail(error));
}

function frameOf(desc: DescMessage, answer: unknown): Uint8Array {
  if (answer instanceof EncodedMessage) return answer.frame;
  // The cast is sound: the handler's type allows nothing but the method's output or an EncodedMessage.
  const bytes = toBinary(desc, create(desc, answer as MessageInitShape<DescMessage>));
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + bytes.length);
  frame[0] = 0;
  frame.writeUInt32BE(bytes.length, 1);
  frame.set(bytes, FRAME_HEADER_BYTES);
  return frame;
}

// Pulls only while the caller reads: a slow caller stops the handler from producing.
async function pump<P>(call: ServerCall<P>, desc: DescMessage, answers: AsyncIterable<unknown>): Promise<void> {
  const iterator = answers[Symbol.asyncIterator]();
  let done = false;
  call.onEnd(() => {
    if (!done) iterator.return?.().catch(() => {});
  });
  while (!call.ended) {
    const result = await iterator.next();
    done = result.done === true;
    if (done) return call.finish({ code: OK, message: '' });
    if (!call.write(frameOf(desc, result.value))) await new Promise<void>((resolve) => call.drained(resolve));
  }
}

// Sends the newest value only: what changed while the caller was slow is left out.
function follow<P>(call: ServerCall<P>, desc: DescMessage, source: Source<unknown>): void {
  let blocked = false;
  let dirty = false;
  const sendNewest = (): void => {
    if (blocked) {
      dirty = true;
      return;
    }
    dirty = false;
    blocked = !call.write(frameOf(desc, source.value));
    if (blocked) call.drained(onDrained);
  };
  const onDrained = (): void => {
    blocked = false;
    if (dirty) guard(call, sendNewest);
  };
  sendNewest();
  call.onEnd(source.subscribe(() => guard(call, sendNewest)));
}
