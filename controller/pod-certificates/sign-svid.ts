import { Admin } from '../../proto/gen/countersign/admin/v1/admin_pb.ts';
import { toIdentityError, type GrpcConnection } from '../../runtime/grpc-client.ts';

/** What a certificate is asked for with. */
export interface SignRequest {
  readonly entryId: string;
  /** SubjectPublicKeyInfo, DER. Its holder has proven to have the private key. */
  readonly publicKeySpki: Uint8Array;
  /** Bounds of the certificate's whole validity, from `notBefore` to `notAfter`, as the API server counts it. */
  readonly maxLifetimeSeconds: number;
  readonly minLifetimeSeconds: number;
}

/** Has an entry's X509-SVID signed. Answers its chain, DER, leaf first. @throws IdentityError as the CA refused */
export type SignSvid = (request: SignRequest, signal: AbortSignal) => Promise<readonly Uint8Array[]>;

const TIMEOUT_MS = 10_000;

/** How far the CA dates a certificate back, for verifiers whose clock is behind. It counts from now on, the API server from there on. */
export const BACKDATE_SECONDS = 10;

/** Signs by the CA's `countersign.admin.v1`. */
export function signSvidOver(connection: GrpcConnection): SignSvid {
  const admin = connection.client(Admin);
  return async ({ entryId, publicKeySpki, maxLifetimeSeconds, minLifetimeSeconds }, signal) => {
    const request = {
      entryId,
      publicKey: publicKeySpki,
      maxTtlSeconds: maxLifetimeSeconds - BACKDATE_SECONDS,
      minTtlSeconds: minLifetimeSeconds - BACKDATE_SECONDS,
    };
    try {
      const { svid } = await admin.signPublicKey(request, { signal, timeoutMs: TIMEOUT_MS });
      return svid?.certChain ?? [];
    } catch (error) {
      throw toIdentityError(error);
    }
  };
}
