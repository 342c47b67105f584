import type { IncomingHttpHeaders } from 'node:http2';
import { parseEncoding, type Encoding } from './compression.ts';
import { INTERNAL, StatusError } from './status.ts';
import { parseTimeoutMs } from './timeout.ts';

/** What a request's headers say about the call itself. */
export interface RequestHead {
  readonly encoding: Encoding;
  readonly timeoutMs: number | undefined;
}

/** The HTTP status that refuses a request which is no gRPC at all, or undefined when it is gRPC (PROTOCOL-HTTP2.md, "Requests"). */
export function refusal(headers: IncomingHttpHeaders): number | undefined {
  if (headers[':method'] !== 'POST') return 405;
  const type = headers['content-type'];
  if (type === 'application/grpc' || type === 'application/grpc+proto') return undefined;
  return type !== undefined && /^application\/grpc(\+proto)?\s*;/.test(type) ? undefined : 415;
}

/** @throws StatusError UNIMPLEMENTED on an unknown compression, INTERNAL on a malformed timeout */
export function parseHead(headers: IncomingHttpHeaders): RequestHead {
  const encoding = parseEncoding(single(headers['grpc-encoding']));
  const timeout = single(headers['grpc-timeout']);
  if (timeout === undefined) return { encoding, timeoutMs: undefined };
  const timeoutMs = parseTimeoutMs(timeout);
  if (timeoutMs === undefined) throw new StatusError({ code: INTERNAL, message: 'grpc-timeout is malformed' });
  return { encoding, timeoutMs };
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value;
}
