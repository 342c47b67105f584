import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack, type Any } from '@bufbuild/protobuf/wkt';
import { RetryInfoSchema } from '../../proto/gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../../proto/gen/google/rpc/status_pb.ts';
import { publicError, WIRE_CODES } from '../wire-errors.ts';

/** gRPC status codes that the layer itself gives (https://grpc.io/docs/guides/status-codes/). */
export const OK = 0;
export const CANCELLED = 1;
export const DEADLINE_EXCEEDED = 4;
export const RESOURCE_EXHAUSTED = 8;
export const UNIMPLEMENTED = 12;
export const INTERNAL = 13;
export const UNAVAILABLE = 14;

/** How a call ended: what its trailers say. */
export interface Status {
  readonly code: number;
  readonly message: string;
  readonly details?: readonly Any[];
}

/** Ends a call with exactly this status. For what relays another server's answer; all else throws `IdentityError`. */
export class StatusError extends Error {
  readonly status: Status;

  constructor(status: Status) {
    super(status.message);
    this.name = 'StatusError';
    this.status = status;
  }
}

/** The status that a thrown value becomes. */
export function statusOf(thrown: unknown): Status {
  if (thrown instanceof StatusError) return thrown.status;
  const { code, message, retryAfterMs, details } = publicError(thrown);
  const packed = details.map(({ desc, message: detail }) => anyPack(desc, detail));
  if (retryAfterMs !== undefined) packed.push(retryInfo(retryAfterMs));
  return { code: WIRE_CODES[code].grpc, message, details: packed };
}

function retryInfo(retryAfterMs: number): Any {
  const seconds = Math.floor(retryAfterMs / 1000);
  const nanos = Math.floor((retryAfterMs - seconds * 1000) * 1e6);
  return anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds), nanos } }));
}

function statusDetails({ code, message, details = [] }: Status): string {
  const bytes = toBinary(StatusSchema, create(StatusSchema, { code, message, details: [...details] }));
  return Buffer.from(bytes).toString('base64').replace(/=+$/, '');
}

// Callers refuse header lists beyond 8 to 16 KiB, and would see no status at all.
const MAX_MESSAGE_CHARACTERS = 2_000;

/** The trailers of a status: `grpc-status`, `grpc-message` percent-encoded, and `grpc-status-details-bin` where there are details. */
export function statusTrailers(status: Status): Record<string, string> {
  const trailers: Record<string, string> = { 'grpc-status': String(status.code) };
  if (status.message !== '') trailers['grpc-message'] = percentEncode(status.message.slice(0, MAX_MESSAGE_CHARACTERS));
  if (status.details !== undefined && status.details.length > 0) trailers['grpc-status-details-bin'] = statusDetails(status);
  return trailers;
}

const PLAIN = /^[\x20-\x24\x26-\x7e]*$/;

/** Percent-encoding of `grpc-message`: every byte of UTF-8 outside printable ASCII, and `%` itself. */
export function percentEncode(message: string): string {
  if (PLAIN.test(message)) return message;
  let encoded = '';
  for (const byte of Buffer.from(message, 'utf8')) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}
