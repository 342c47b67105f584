import type { RawHeader } from '../../policy/normalize/headers.ts';
import type { RawRequest } from '../../policy/normalize/request.ts';
import type {
  AttributeContext,
  AttributeContext_HttpRequest,
  AttributeContext_Peer,
} from '../../proto/gen/envoy/service/auth/v3/attribute_context_pb.ts';
import { parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Check } from '../authz/check.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import { ipOf, portOf } from './address.ts';
import type { PeerCertificates } from './peer-certificate.ts';

/**
 * The key with which a proxy of several identities says which one is called: in `context_extensions` of a route, or in the labels that
 * its bootstrap gives it.
 */
export const DESTINATION_EXTENSION = 'countersign.dev/destination';

/** Why Envoy's attributes make no call that could be decided. */
export type AttributeFault = 'attributes_missing' | 'source_invalid' | 'destination_invalid';

/** What Envoy asks about, or why that cannot be told. */
export type Asked = { readonly check: Check } | { readonly fault: AttributeFault; readonly check: Check };

/**
 * The call that Envoy's attributes describe. Of the caller, only what Envoy itself knows of the connection counts: its verified
 * certificate and its address, never a header such as `x-forwarded-client-cert` or `x-forwarded-for`.
 */
export function askedBy(asking: SelectorSet, attributes: AttributeContext | undefined, certificates: PeerCertificates): Asked {
  if (attributes === undefined) return { fault: 'attributes_missing', check: { point: 'ext_authz', asking } };
  const { source, destination, request, contextExtensions } = attributes;
  const named = contextExtensions[DESTINATION_EXTENSION] ?? destination?.labels[DESTINATION_EXTENSION];
  const sourceId = idOf(source?.principal);
  const destinationId = idOf(named);
  const check: Check = {
    point: 'ext_authz',
    asking,
    destinationId,
    port: portOf(destination?.address),
    sourceId,
    sourceAddress: ipOf(source?.address),
    request: request?.http && rawRequest(request.http),
  };
  if (!isProven(source, sourceId, certificates)) return { fault: 'source_invalid', check: { ...check, sourceId: undefined } };
  if (destinationId === undefined && named !== undefined) return { fault: 'destination_invalid', check };
  return { check };
}

/** Whether the peer has shown no name, or one that is a SPIFFE ID. */
function isProven(peer: AttributeContext_Peer | undefined, id: SpiffeId | undefined, certificates: PeerCertificates): boolean {
  if (peer === undefined || peer.principal === '') return true;
  return id !== undefined && (peer.certificate === '' || certificates.isOf(peer.principal, peer.certificate));
}

function idOf(text: string | undefined): SpiffeId | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    return parseSpiffeId(text);
  } catch {
    return undefined;
  }
}

/** Text in Envoy's attributes has bytes that are no UTF-8 replaced, so the raw values go before it where they are there. */
function rawRequest(http: AttributeContext_HttpRequest): RawRequest {
  const { headers: raw = [] } = http.headerMap ?? {};
  if (raw.length === 0)
    return { method: http.method, target: http.path, authority: http.host, headers: textHeaders(http.headers) };
  const headers: RawHeader[] = [];
  let { method, path: target, host: authority } = http;
  for (const { key, value, rawValue } of raw) {
    const text = rawValue.length > 0 ? bytesOf(rawValue) : asBytes(value);
    if (!key.startsWith(':')) headers.push([key, text]);
    else if (key === ':method') method = text;
    else if (key === ':path') target = text;
    else if (key === ':authority') authority = text;
  }
  return { method, target, authority, headers };
}

function textHeaders(map: Readonly<Record<string, string>>): RawHeader[] {
  const headers: RawHeader[] = [];
  for (const name in map) if (!name.startsWith(':')) headers.push([name, asBytes(map[name] ?? '')]);
  return headers;
}

// One character for each byte, as Node gives headers too: policies match the same text at every enforcement point.
function bytesOf(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1');
}

const ASCII = /^[ -~]*$/;

function asBytes(text: string): string {
  return ASCII.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
}
