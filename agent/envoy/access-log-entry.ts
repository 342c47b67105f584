import type { JsonObject } from '@bufbuild/protobuf';
import type { RawRequest } from '../../policy/normalize/request.ts';
import { RequestMethod } from '../../proto/gen/envoy/config/core/v3/header_pb.ts';
import {
  AccessLogType,
  type AccessLogCommon,
  type HTTPAccessLogEntry,
  type HTTPRequestProperties,
  type TCPAccessLogEntry,
} from '../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.ts';
import { parseSpiffeId, type SpiffeId } from '../../spiffe/spiffe-id.ts';
import { ipOf, portOf } from './address.ts';
import { DESTINATION_EXTENSION } from './attributes.ts';
import { type DeniedBy, readDenial } from './rule-name.ts';

/** What Envoy reports to have decided by itself. */
export interface SeenCall {
  readonly verdict: 'allow' | 'deny';
  /** Why it was denied. */
  readonly reason: 'allowed_by_proxy' | 'denied_by_proxy' | 'handshake_refused';
  /** What denied it, where one of our filters did. */
  readonly by?: DeniedBy | undefined;
  /** What would be denied by policies of mode DryRun; `allow` where nothing would. */
  readonly dryRun?: DeniedBy | 'allow' | undefined;
  readonly sourceId: SpiffeId | undefined;
  readonly sourceAddress: string | undefined;
  /** The identity that the logger's configuration names. */
  readonly destinationId: SpiffeId | undefined;
  /** The one whose certificate Envoy showed. */
  readonly shownId: SpiffeId | undefined;
  readonly port: number | undefined;
  readonly request?: RawRequest;
}

const HTTP_AUTHZ = 'envoy.filters.http.ext_authz';
const NETWORK_AUTHZ = 'envoy.filters.network.ext_authz';
const HTTP_RBAC = 'envoy.filters.http.rbac';
const DENIED = /^rbac_access_denied_matched_policy\[([^\]]*)\]$/;
/** What a request comes to that got past all filters. */
const PASSED = /^(?:via_upstream$|direct_response$|upstream_|no_healthy_upstream)/;
/** Failures of a handshake in which the certificate was verified, and is of one that may not connect. */
const VERIFIED = /verify cert failed: (?:SAN match|verify SAN list)/;

/** What an entry about a request says; undefined where nothing was decided, or the agent itself has decided it. */
export function readHttpEntry({ commonProperties: common, request, response }: HTTPAccessLogEntry): SeenCall | undefined {
  if (common === undefined || request === undefined || !isLast(common) || wasAsked(common)) return undefined;
  const [isDenied, name] = denialIn(response?.responseCodeDetails ?? '');
  if (!isDenied && !PASSED.test(response?.responseCodeDetails ?? '')) return undefined;
  const parties = partiesOf(common, true);
  if (parties === undefined) return undefined;
  const raw = rawRequest(request);
  if (isDenied) return { verdict: 'deny', reason: 'denied_by_proxy', by: readDenial(name), ...parties, request: raw };
  return { verdict: 'allow', reason: 'allowed_by_proxy', dryRun: dryRunIn(common), ...parties, request: raw };
}

/**
 * What an entry about a connection says. That of a listener tells of connections that were refused; whether any other had requests,
 * it does not tell. That of a TCP proxy tells of connections that went on.
 */
export function readTcpEntry({ commonProperties: common }: TCPAccessLogEntry): SeenCall | undefined {
  if (common === undefined || wasAsked(common)) return undefined;
  const { accessLogType, connectionTerminationDetails, downstreamTransportFailureReason: failure } = common;
  const [isDenied, name] = denialIn(connectionTerminationDetails);
  if (accessLogType === AccessLogType.TcpConnectionEnd) {
    const parties = isDenied || failure !== '' ? undefined : partiesOf(common, true);
    return parties && { verdict: 'allow', reason: 'allowed_by_proxy', ...parties };
  }
  if (accessLogType !== AccessLogType.NotSet || (!isDenied && failure === '')) return undefined;
  const parties = partiesOf(common, failure === '' || VERIFIED.test(failure));
  if (parties === undefined) return undefined;
  if (failure !== '') return { verdict: 'deny', reason: 'handshake_refused', ...parties };
  return { verdict: 'deny', reason: 'denied_by_proxy', by: readDenial(name), ...parties };
}

function isLast({ accessLogType }: AccessLogCommon): boolean {
  return accessLogType === AccessLogType.NotSet || accessLogType === AccessLogType.DownstreamEnd;
}

/** Whether the agent was asked about it: then it is recorded already, or was not to be told. */
function wasAsked({ metadata, responseFlags }: AccessLogCommon): boolean {
  if (responseFlags?.unauthorizedDetails !== undefined) return true;
  const filters = metadata?.filterMetadata ?? {};
  return [HTTP_AUTHZ, NETWORK_AUTHZ].some((name) => typeof filters[name]?.['verdict'] === 'string');
}

function denialIn(details: string): readonly [isDenied: boolean, name: string] {
  const [, name] = DENIED.exec(details) ?? [];
  return [name !== undefined, name ?? ''];
}

function dryRunIn({ metadata }: AccessLogCommon): SeenCall['dryRun'] {
  const rbac: JsonObject = metadata?.filterMetadata[HTTP_RBAC] ?? {};
  const { dry_run_shadow_engine_result: result, dry_run_shadow_effective_policy_id: name } = rbac;
  if (result === 'allowed') return 'allow';
  return result === 'denied' && typeof name === 'string' ? readDenial(name) : undefined;
}

type Parties = Pick<SeenCall, 'sourceId' | 'sourceAddress' | 'destinationId' | 'shownId' | 'port'>;

/**
 * Who called whom; undefined where the caller's certificate names no SPIFFE ID, or more than one name.
 *
 * @param isVerified whether the caller's certificate may be believed
 */
function partiesOf(common: AccessLogCommon, isVerified: boolean): Parties | undefined {
  const { tlsProperties: tls, customTags } = common;
  const named = customTags[DESTINATION_EXTENSION];
  const sources = isVerified ? urisOf(tls?.peerCertificateProperties) : [];
  const sourceId = onlyId(sources);
  const destinationId = onlyId(named === undefined ? [] : [named]);
  if ((sourceId === undefined && sources.length > 0) || (destinationId === undefined && named !== undefined)) return undefined;
  return {
    sourceId,
    destinationId,
    shownId: onlyId(urisOf(tls?.localCertificateProperties)),
    sourceAddress: ipOf(common.downstreamDirectRemoteAddress),
    port: portOf(common.downstreamLocalAddress),
  };
}

type Certificate = NonNullable<NonNullable<AccessLogCommon['tlsProperties']>['peerCertificateProperties']>;

function urisOf(certificate: Certificate | undefined): readonly string[] {
  return (certificate?.subjectAltName ?? []).flatMap(({ san }) => (san.case === 'uri' ? [san.value] : []));
}

function onlyId([uri, ...more]: readonly string[]): SpiffeId | undefined {
  if (uri === undefined || more.length > 0) return undefined;
  try {
    return parseSpiffeId(uri);
  } catch {
    return undefined;
  }
}

const METHODS = new Map<number, string>(Object.entries(RequestMethod).map(([name, value]) => [value, name]));

/** Envoy's field knows usual methods only, so the header goes before it. A path that a route has rewritten is as it was sent on. */
function rawRequest({ requestMethod, authority, path, requestHeaders }: HTTPRequestProperties): RawRequest {
  const method = requestHeaders[':method'] ?? METHODS.get(requestMethod) ?? '';
  const headers = Object.entries(requestHeaders).filter(([name]) => !name.startsWith(':'));
  return { method, target: path, authority, headers };
}
