import type { MessageInitShape } from '@bufbuild/protobuf';
import type { JWTSVIDSchema } from '../../proto/gen/spire/api/types/jwtsvid_pb.ts';
import type { WITSVIDSchema } from '../../proto/gen/spire/api/types/witsvid_pb.ts';
import type { X509SVIDSchema } from '../../proto/gen/spire/api/types/x509svid_pb.ts';
import type { IssuedToken, IssuedX509 } from '../issue/issuer.ts';
import { idToProto } from './id-conversion.ts';

/** An issued X509-SVID as the fields of its message. */
export function x509SvidToProto({ spiffeId, chain, expiresAtMs }: IssuedX509): MessageInitShape<typeof X509SVIDSchema> {
  return { id: idToProto(spiffeId), certChain: [...chain], expiresAt: secondsOf(expiresAtMs) };
}

/** An issued JWT-SVID or WIT-SVID as the fields of its message. */
export function tokenToProto({
  spiffeId,
  token,
  issuedAtMs,
  expiresAtMs,
}: IssuedToken): MessageInitShape<typeof JWTSVIDSchema> & MessageInitShape<typeof WITSVIDSchema> {
  return { id: idToProto(spiffeId), token, issuedAt: secondsOf(issuedAtMs), expiresAt: secondsOf(expiresAtMs) };
}

function secondsOf(ms: number): bigint {
  return BigInt(Math.floor(ms / 1000));
}
