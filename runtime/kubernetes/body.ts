import type { IncomingMessage } from 'node:http';

import { IdentityError } from '../../core/errors.ts';

/**
 * Reads a whole answer as text.
 *
 * @throws IdentityError `unavailable` when it is larger than `maxBytes` or breaks off
 */
export async function readText(response: IncomingMessage, maxBytes: number, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(response, signal)) {
    size += chunk.length;
    if (size > maxBytes) {
      response.destroy();
      throw new IdentityError('unavailable', `the API server's answer is larger than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The chunks of an answer. @throws IdentityError `unavailable` when it breaks off, or the signal's reason */
export async function* chunksOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  try {
    for await (const chunk of response) {
      // The cast is sound: no encoding is set on the stream, so its chunks are buffers.
      yield chunk as Buffer;
    }
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    if (cause instanceof IdentityError) throw cause;
    throw new IdentityError('unavailable', 'the connection to the API server broke off in the middle of an answer', { cause });
  }
}

/** Parses JSON that a server sent. @throws IdentityError `unavailable` when it is none */
export function parseAnswer(text: string, asked: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new IdentityError('unavailable', `what answered to ${asked} is no API server: it sent no JSON`);
  }
}

/** Parses JSON if it is any. */
export function parseIfJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
