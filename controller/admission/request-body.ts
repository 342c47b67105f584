import type { IncomingMessage } from 'node:http';

import { IdentityError } from '../../core/errors.ts';

/**
 * Reads a whole request body as UTF-8.
 *
 * @throws IdentityError `resource_exhausted` as soon as it is longer than `maxBytes`, `invalid_argument` when it is empty, no
 *   UTF-8 or breaks off
 */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    // A stream that is left early is destroyed, and its socket with it: then nobody could be told why.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      // The cast is sound: no encoding is set, so the chunks are Buffers.
      const bytes = chunk as Buffer;
      length += bytes.length;
      if (length > maxBytes) throw new IdentityError('resource_exhausted', `the body is larger than ${maxBytes} bytes`);
      chunks.push(bytes);
    }
  } catch (cause) {
    if (cause instanceof IdentityError) throw cause;
    throw new IdentityError('invalid_argument', 'the body broke off', { cause });
  }
  if (length === 0) throw new IdentityError('invalid_argument', 'the body is empty');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (cause) {
    throw new IdentityError('invalid_argument', 'the body is no UTF-8', { cause });
  }
}
