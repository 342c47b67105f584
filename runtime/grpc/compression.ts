import { gunzip } from 'node:zlib';
import { tooLarge, type Frame } from './frame-reader.ts';
import { INTERNAL, StatusError, UNIMPLEMENTED } from './status.ts';

/** What `grpc-accept-encoding` tells callers. */
export const ACCEPTED_ENCODINGS = 'identity,gzip';

/** How the request's messages are compressed, from `grpc-encoding`. */
export type Encoding = 'identity' | 'gzip';

/** @throws StatusError UNIMPLEMENTED on an encoding that is not accepted */
export function parseEncoding(header: string | undefined): Encoding {
  if (header === undefined || header === 'identity') return 'identity';
  if (header === 'gzip') return 'gzip';
  const message = `messages compressed with "${header}" are not accepted; use one of ${ACCEPTED_ENCODINGS}`;
  throw new StatusError({ code: UNIMPLEMENTED, message });
}

/**
 * Inflates a message off the main thread. Output is bounded while it grows: a bomb costs at most `maxBytes`.
 *
 * @throws StatusError RESOURCE_EXHAUSTED when it grows beyond `maxBytes`, INTERNAL when it is no gzip
 */
export function inflate(frame: Frame, encoding: Encoding, maxBytes: number): Promise<Uint8Array> {
  if (encoding === 'identity') {
    const message = 'message is marked as compressed, but grpc-encoding names no compression';
    return Promise.reject(new StatusError({ code: INTERNAL, message }));
  }
  return new Promise((resolve, reject) => {
    gunzip(frame.bytes, { maxOutputLength: Math.max(1, maxBytes) }, (error, bytes) => {
      if (error === null) resolve(bytes);
      else if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') reject(tooLarge(undefined, maxBytes));
      else reject(new StatusError({ code: INTERNAL, message: 'message is marked as gzip but cannot be inflated' }));
    });
  });
}
