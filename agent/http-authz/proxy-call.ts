import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { readIpAddress } from '../../policy/match/ip.ts';
import { parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { Check } from '../authz/check.ts';
import type { SelectorSet } from '../cache/selectors.ts';
import { openSealed } from './sealed-headers.ts';

/** Tells whose certificate a proxy verified; see `ClientCertificates`. */
export type CertificateReader = (escapedPem: string, asking: SelectorSet) => SpiffeId;

/** What came on the socket. */
export interface ProxyRequest {
  readonly asking: SelectorSet;
  /** Of the request line, after the `?`. */
  readonly query: URLSearchParams;
  readonly rawHeaders: readonly string[];
}

const PARAMETERS = new Set(['call', 'identity']);

/** What a proxy asks about. */
export interface ProxyCall {
  readonly check: Check;
  /** Why it is denied without asking the policies: the certificate that the proxy verified is not to be trusted. */
  readonly refused?: 'source_refused';
}

/**
 * What a proxy asks with `auth_request`: the call as it came to the proxy, from its own variables.
 *
 * @throws IdentityError `failed_precondition` when the proxy's configuration is at fault
 */
export function proxyCall({ asking, query, rawHeaders }: ProxyRequest, readCertificate: CertificateReader): ProxyCall {
  checkQuery(query);
  const { sealed, client } = openSealed(query.get('call'), rawHeaders);
  const identity = query.get('identity');
  const check: Check = {
    point: 'http',
    asking,
    destinationId: identity === null ? undefined : read('identity', () => parseSpiffeId(identity)),
    port: portOf(sealed.port),
    sourceAddress: addressOf(sealed.address),
    request: { ...requestLine(sealed.request), authority: sealed.host, headers: client },
  };
  if (sealed.verify !== 'SUCCESS') return { check };
  try {
    return { check: { ...check, sourceId: readCertificate(sealed.certificate, asking) } };
  } catch (error) {
    if (isIdentityError(error, 'unauthenticated')) return { check, refused: 'source_refused' };
    throw error;
  }
}

function checkQuery(query: URLSearchParams): void {
  const names = [...query.keys()];
  const odd = names.find((name, at) => !PARAMETERS.has(name) || names.indexOf(name) !== at);
  if (odd !== undefined) throw fault(odd, 'is no parameter of /authorize, or occurs twice');
}

/** The request line as it came (RFC 9112 §3); what a proxy made of it is not what the service gets. */
function requestLine(text: string): { readonly method: string; readonly target: string } {
  const [, method, target] = /^([^ ]+) ([^]*?)(?: HTTP\/\d(?:\.\d)?)?$/.exec(text) ?? [];
  if (method === undefined || target === undefined) throw fault('x-countersign-request', 'is no request line');
  return { method, target };
}

/** Empty where the proxy listens on a unix socket. */
function portOf(text: string): number | undefined {
  if (text === '') return undefined;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw fault('x-countersign-port', 'is no port');
  return port;
}

function addressOf(text: string): string | undefined {
  if (text === 'unix:') return undefined;
  if (readIpAddress(text) === undefined) throw fault('x-countersign-address', 'is no IP address');
  return text;
}

function read<T>(field: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new IdentityError('failed_precondition', 'is no SPIFFE ID', { field, cause });
  }
}

function fault(field: string, message: string): IdentityError {
  return new IdentityError('failed_precondition', message, { field });
}
