import { IdentityError } from '../../core/errors.ts';
import type { RawHeader } from '../../policy/normalize/headers.ts';

/** What a proxy vouches for, each in a header of its own. */
export const SEALED = {
  request: 'x-countersign-request',
  host: 'x-countersign-host',
  port: 'x-countersign-port',
  address: 'x-countersign-address',
  verify: 'x-countersign-verify',
  certificate: 'x-countersign-certificate',
} as const;

/** One of {@link SEALED}. */
export type SealedName = keyof typeof SEALED;

/** What was said under a seal, and the headers of the client. */
export interface OpenedHeaders {
  readonly sealed: Readonly<Record<SealedName, string>>;
  readonly client: readonly RawHeader[];
}

/** nginx's `$request_id`: 16 random bytes. */
const CALL_ID = /^[0-9a-f]{32}$/;
const NAMES = Object.fromEntries(Object.entries(SEALED).map(([name, header]) => [header, name]));
/** Headers of the proxy's own request to the agent, never the client's. */
const OF_THE_PROXY = new Set(['host', 'connection']);

/**
 * Takes what the proxy says apart from what its client says, which arrives in headers as well. Each header of the proxy begins with the
 * call's ID, which is also in the request line and which no client can know: a header that the proxy's configuration forgot to set,
 * and that the client sent instead, has no seal.
 *
 * @param rawHeaders names and values in turn, as they came
 * @throws IdentityError `failed_precondition`: the proxy's configuration is at fault; the field names the header
 */
export function openSealed(callId: string | null, rawHeaders: readonly string[]): OpenedHeaders {
  if (callId === null || !CALL_ID.test(callId)) throw fault('call', 'is not what $request_id holds');
  const sealed = new Map<string, string>();
  const client: RawHeader[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [header = '', value = ''] = [rawHeaders[at], rawHeaders[at + 1]];
    const lower = header.toLowerCase();
    const name = NAMES[lower];
    if (name !== undefined) {
      if (sealed.has(name)) throw fault(lower, 'occurs twice');
      sealed.set(name, unsealed(lower, value, callId));
    } else if (!OF_THE_PROXY.has(lower)) client.push([header, value]);
  }
  return { sealed: complete(sealed), client };
}

function unsealed(header: string, value: string, callId: string): string {
  if (value === callId) return '';
  if (!value.startsWith(`${callId} `)) throw fault(header, 'is not sealed; the configuration must set it');
  return value.slice(callId.length + 1);
}

function complete(sealed: ReadonlyMap<string, string>): Readonly<Record<SealedName, string>> {
  for (const [name, header] of Object.entries(SEALED)) if (!sealed.has(name)) throw fault(header, 'is missing');
  // The cast is sound: each name has just been found.
  return Object.fromEntries(sealed) as Record<SealedName, string>;
}

function fault(field: string, message: string): IdentityError {
  return new IdentityError('failed_precondition', message, { field });
}
