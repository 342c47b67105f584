import type { KeyObject } from 'node:crypto';
import { IdentityError, type ErrorCode } from '../../core/errors.ts';
import type { SignedX509 } from './sign-order.ts';
import type { IssuerProfile, X509Order } from './x509-order.ts';

/** What a worker thread signs with: told once, then named by its ID. The key never leaves the process. */
export interface WorkerAuthority {
  readonly id: string;
  readonly profile: IssuerProfile;
  readonly hash: 'sha256' | 'sha384';
  readonly key: KeyObject;
}

/** A part of a batch on its way to a worker. All keys lie in one buffer, which is handed over instead of copied. */
export interface JobMessage {
  readonly job: number;
  /** Set when the worker does not know it yet. */
  readonly authority: WorkerAuthority | undefined;
  readonly keys: Uint8Array<ArrayBuffer>;
  /** Where each key ends. */
  readonly keyEnds: readonly number[];
  readonly orders: readonly Omit<X509Order, 'key'>[];
}

/** A failure of one order. */
interface FailureMessage {
  readonly code: ErrorCode;
  readonly message: string;
}

/** The answer. Certificate and serial number of each order lie one after the other in one buffer. */
export interface ResultMessage {
  readonly job: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly results: readonly (
    | FailureMessage
    | { readonly certificateEnd: number; readonly serialEnd: number; readonly spiffeId: string; readonly digest: string }
  )[];
}

/** Packs orders; returns the message and what is to be transferred with it. */
export function packJob(job: number, orders: readonly X509Order[], authority: WorkerAuthority | undefined): JobMessage {
  const { bytes, ends } = concatenate(orders.map(({ key }) => key));
  return { job, authority, keys: bytes, keyEnds: ends, orders: orders.map(({ key: _key, ...order }) => order) };
}

/** The orders of a job. */
export function unpackJob({ keys, keyEnds, orders }: JobMessage): readonly X509Order[] {
  return orders.map((order, index) => ({ ...order, key: keys.subarray(keyEnds[index - 1] ?? 0, keyEnds[index]) }));
}

/** Packs what became of a job's orders. */
export function packResults(job: number, signed: readonly (SignedX509 | IdentityError)[]): ResultMessage {
  const parts = signed.flatMap((each) => (each instanceof IdentityError ? [] : [each.certificate, each.serial]));
  const { bytes, ends } = concatenate(parts);
  let next = 0;
  const results = signed.map((each) => {
    if (each instanceof IdentityError) return { code: each.code, message: each.message };
    const [certificateEnd = 0, serialEnd = 0] = [ends[next++], ends[next++]];
    return { certificateEnd, serialEnd, spiffeId: each.spiffeId, digest: each.digest };
  });
  return { job, bytes, results };
}

/** What became of a job's orders, in order. */
export function unpackResults({ bytes, results }: ResultMessage): readonly (SignedX509 | IdentityError)[] {
  let start = 0;
  return results.map((result) => {
    if ('code' in result) return new IdentityError(result.code, result.message);
    const { certificateEnd, serialEnd, spiffeId, digest } = result;
    const certificate = bytes.subarray(start, certificateEnd);
    start = serialEnd;
    return { certificate, serial: bytes.subarray(certificateEnd, serialEnd), spiffeId, digest };
  });
}

function concatenate(parts: readonly Uint8Array[]): {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly ends: readonly number[];
} {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  const ends = parts.map((part) => {
    bytes.set(part, end);
    end += part.length;
    return end;
  });
  return { bytes, ends };
}
