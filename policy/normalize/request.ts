import type { GrpcCall, Request } from '../model.ts';
import { normalizeHeaders } from './headers.ts';
import type { RawHeader } from './headers.ts';
import { normalizeHost } from './host.ts';
import { normalizePath } from './path.ts';
import type { NormalizedPath } from './path.ts';
import { grpcNamed } from './grpc-path.ts';
import { refuse, RefusedRequest } from './refusal.ts';
import type { Refusal } from './refusal.ts';

/** A request as an enforcement point got it. */
export interface RawRequest {
  readonly method: string;
  /** The request target, such as `/a/b?q=1` or `http://host/a` (RFC 9112 §3.2). */
  readonly target: string;
  /** `:authority` of HTTP/2, where there is one. A `host` header beside it must say the same. */
  readonly authority?: string;
  readonly headers: Iterable<RawHeader>;
}

/** A normalised request, or why there is none. Both fit into a `Call`. */
export type Normalized = { readonly request: Request } | { readonly refused: Refusal };

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/;
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']);
const ABSOLUTE = /^https?:\/\/([^/?#]*)([^]*)$/i;

/**
 * Normalises a request once, before anything is matched. Never throws for what a client may send.
 *
 * @example
 * const call = { source, destination, atMs, ...normalizeRequest({ method: 'GET', target: '/a//b', headers: [['host', 'x']] }) };
 */
export function normalizeRequest(raw: RawRequest): Normalized {
  try {
    return { request: normalized(raw) };
  } catch (error) {
    if (error instanceof RefusedRequest) return { refused: error.refusal };
    throw error;
  }
}

function normalized(raw: RawRequest): Request {
  const method = normalizedMethod(raw.method);
  const lines = normalizeHeaders(raw.headers);
  const { headers } = lines;
  const [, targetAuthority, rest] = ABSOLUTE.exec(raw.target) ?? [];
  const host = hostOf([raw.authority, headers.get('host'), targetAuthority]);
  const path = pathOf(method, rest ?? raw.target, targetAuthority !== undefined);
  const grpc = method === 'POST' ? grpcOf(path, headers) : undefined;
  return { method, host, path, ...lines, ...(grpc === undefined ? {} : { grpc }) };
}

// Methods are case-sensitive (RFC 9110 §9.1), yet some servers take `delete` for DELETE.
function normalizedMethod(method: string): string {
  if (!TOKEN.test(method)) refuse('method_invalid');
  if (METHODS.has(method.toUpperCase()) && !METHODS.has(method)) refuse('method_case');
  return method;
}

function hostOf(named: readonly (string | undefined)[]): string {
  const hosts = named.filter((each) => each !== undefined && each !== '').map((each) => normalizeHost(each ?? ''));
  const [host = ''] = hosts;
  if (hosts.some((other) => other !== host)) refuse('host_mismatch');
  return host;
}

function pathOf(method: string, target: string, isAbsolute: boolean): NormalizedPath {
  // The cast is sound: `*` is the one target that is no path (RFC 9112 §3.2.4).
  if (method === 'OPTIONS' && target === '*') return '*' as NormalizedPath;
  const isEmpty = isAbsolute && (target === '' || target.startsWith('?'));
  return normalizePath(isEmpty ? `/${target}` : target);
}

function grpcOf(path: string, headers: ReadonlyMap<string, string>): GrpcCall | undefined {
  if (!/^application\/grpc(?:[+;]|$)/i.test(headers.get('content-type') ?? '')) return undefined;
  return grpcNamed(path);
}
