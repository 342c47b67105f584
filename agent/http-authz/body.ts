import type { IncomingMessage } from 'node:http';
import { IdentityError } from '../../core/errors.ts';

/** Largest question: headers of 64 KiB that JSON doubled, and the rest. */
export const MAX_BODY_BYTES = 256 * 1024;

/**
 * The body of a request.
 *
 * @throws IdentityError `resource_exhausted` when it is larger than {@link MAX_BODY_BYTES}, `cancelled` when it ends early
 */
export function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) {
      request.pause();
      reject(new IdentityError('resource_exhausted', `the body is larger than ${MAX_BODY_BYTES} bytes`));
    } else chunks.push(chunk);
  });
  request.on('end', () => resolve(Buffer.concat(chunks)));
  request.on('error', (cause) => reject(new IdentityError('cancelled', 'the body ended early', { cause })));
  return promise;
}

/** Whether the request announces a body. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}
