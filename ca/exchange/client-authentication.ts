import { IdentityError } from '../../core/errors.ts';
import type { Peer } from '../../runtime/peer.ts';
import type { BundleSource } from '../../spiffe/bundle.ts';
import { verifyJwtSvid } from '../../spiffe/jwt-svid.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { requireWorkloadId } from '../issue/workload-id.ts';
import { TokenError } from './token-error.ts';
import type { Parameters } from './token-request.ts';

/** What clients are authenticated with. */
export interface ClientAuthentication {
  readonly trustDomain: TrustDomain;
  readonly bundles: BundleSource;
  /** The one audience of an assertion. */
  readonly issuer: string;
  readonly nowMs: number;
}

/** How a client shows who it is. */
export interface ClientProof {
  readonly peer: Peer;
  readonly parameters: Parameters;
  /** Whether there is an `Authorization` header: secrets of clients are not a thing here. */
  readonly hasAuthorization: boolean;
}

const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/**
 * The workload that asks: by its X.509-SVID (RFC 8705 §2), or by a JWT-SVID as assertion (RFC 7523 §3) whose one audience is the
 * issuer, or by both if they name the same.
 *
 * @throws TokenError `invalid_client`
 */
export function authenticateClient(proof: ClientProof, options: ClientAuthentication): SpiffeId {
  const { peer, parameters } = proof;
  if (proof.hasAuthorization || parameters.has('client_secret')) {
    throw new TokenError('invalid_client', 'a workload authenticates with its SVID, not with a secret');
  }
  const ids = [certified(peer, options), asserted(parameters, options)].filter((each) => each !== undefined);
  const [id, other] = ids;
  if (id === undefined) throw new TokenError('invalid_client', 'show an X.509-SVID by mTLS, or a JWT-SVID as client_assertion');
  if (other !== undefined && !other.equals(id))
    throw new TokenError('invalid_client', 'certificate and assertion name different workloads');
  const clientId = parameters.get('client_id');
  if (clientId !== undefined && clientId !== id.toString())
    throw new TokenError('invalid_client', 'client_id is not the SPIFFE ID of the caller');
  return refusing(() => {
    requireWorkloadId(id, options.trustDomain);
    return id;
  });
}

function certified(peer: Peer, { bundles, nowMs }: ClientAuthentication): SpiffeId | undefined {
  if (peer.kind === 'refused') throw new TokenError('invalid_client', peer.reason.message, { cause: peer.reason });
  if (peer.kind !== 'x509') return undefined;
  return refusing(() => {
    peer.verify(bundles, nowMs);
    return peer.id;
  });
}

function asserted(parameters: Parameters, { bundles, issuer, nowMs }: ClientAuthentication): SpiffeId | undefined {
  const [type, assertion] = [parameters.get('client_assertion_type'), parameters.get('client_assertion')];
  if (type === undefined && assertion === undefined) return undefined;
  if (type !== JWT_BEARER || assertion === undefined) {
    throw new TokenError('invalid_client', `client_assertion goes with client_assertion_type ${JWT_BEARER}`);
  }
  return refusing(() => {
    const { id, audience } = verifyJwtSvid(assertion, [issuer], bundles, nowMs);
    // One that is also for others could be used here by any of them.
    if (audience.length !== 1) throw new TokenError('invalid_client', 'an assertion is for the issuer of tokens alone (aud)');
    return id;
  });
}

function refusing<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof TokenError || !(cause instanceof IdentityError)) throw cause;
    throw new TokenError('invalid_client', cause.message, { cause });
  }
}
