import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import type { Status } from '../../proto/gen/spire/api/types/status_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';
import { IdentityError } from '../../core/errors.ts';
import type { Issued, SvidIssuer } from '../cache/issuer.ts';

const BATCH_TIMEOUT_MS = 30_000;
// The standard name of the algorithm that goes with the P-256 keys that the agent makes.
const WIT_ALGORITHM = 'ES256';

/** Has SVIDs signed by the CA over the agent's connection. */
export function createCaIssuer(connection: GrpcConnection): SvidIssuer {
  const svid = connection.client(SVID);
  return {
    async signX509Svids(params, signal) {
      const options = { signal, timeoutMs: BATCH_TIMEOUT_MS };
      const { results } = await told(svid.batchNewX509SVID({ params: [...params] }, options));
      return results.map((result) => issued(result.status, result.svid, ({ certChain }) => ({ chainDer: certChain })));
    },

    async signJwtSvid({ entryId, audience, timeoutMs }) {
      const response = await told(svid.newJWTSVID({ entryId, audience: [...audience] }, { timeoutMs }));
      if (response.svid === undefined) throw new IdentityError('unavailable', 'the CA returned no JWT-SVID');
      return readToken(response.svid);
    },

    async signWitSvids(requests, signal) {
      const params = requests.map(({ entryId, spki: publicKey }) => ({ entryId, publicKey, signingAlgorithm: WIT_ALGORITHM }));
      const { results } = await told(svid.batchNewWITSVID({ params }, { signal, timeoutMs: BATCH_TIMEOUT_MS }));
      return results.map((result) => issued(result.status, result.svid, readToken));
    },
  };
}

async function told<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw toIdentityError(error);
  }
}

function issued<S, T>(status: Status | undefined, svid: S | undefined, read: (svid: S) => T): Issued<T> {
  if ((status?.code ?? 0) === 0 && svid !== undefined) return { ok: true, value: read(svid) };
  return { ok: false, message: status?.message ?? 'the CA gave no reason' };
}

function readToken(svid: { readonly token: string; readonly issuedAt: bigint; readonly expiresAt: bigint }) {
  return { token: svid.token, issuedAtMs: Number(svid.issuedAt) * 1000, expiresAtMs: Number(svid.expiresAt) * 1000 };
}
