/**
 * Countersign's client library: identities from any SPIFFE agent, and mTLS with them.
 *
 * @example
 * import { X509Source, tlsOptions, authorizeId } from 'countersign';
 */
export { IdentityError, isIdentityError, type ErrorCode } from '../core/errors.ts';
export type { Source } from '../core/current.ts';
export { Bundle, type BundleSource } from '../spiffe/bundle.ts';
export { parseSpiffeId, type SpiffeId } from '../spiffe/spiffe-id.ts';
export { parseTrustDomain, type TrustDomain } from '../spiffe/trust-domain.ts';
export { authorizeAny, authorizeId, authorizeMemberOf, type Authorizer } from './authorize.ts';
export {
  createAuthorizationClient,
  type AuthorizationAnswer,
  type AuthorizationCall,
  type AuthorizationClient,
  type AuthorizationClientOptions,
  type AuthorizationRequest,
} from './authorization.ts';
export {
  callOf,
  requireAuthorization,
  type AuthorizationHandler,
  type RequestAuthorization,
  type RequireAuthorizationOptions,
} from './require-authorization.ts';
export {
  createSpiffeHttpsServer,
  createSpiffeTlsServer,
  peerIdOf,
  SpiffeHttpsAgent,
  tlsOptions,
  type TlsIdentityOptions,
} from './tls.ts';
export {
  WorkloadApi,
  type HintedJwtSvid,
  type HintedWitSvid,
  type JwtSvidRequest,
  type WorkloadApiOptions,
} from './workload-api.ts';
export { X509BundleSet, type HintedX509Svid, type X509Context } from './x509-context.ts';
export { X509Source, type X509SourceOptions } from './x509-source.ts';
