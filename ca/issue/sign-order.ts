import { IdentityError, isIdentityError } from '../../core/errors.ts';
import { assembleCertificate } from '../../spiffe/leaf-certificate.ts';
import type { SigningKey } from '../keys/key-store.ts';
import { prepareX509, type IssuerProfile, type PreparedX509, type X509Order } from './x509-order.ts';

/** A signed certificate and what the audit record says of it. */
export interface SignedX509 {
  readonly certificate: Uint8Array;
  readonly spiffeId: string;
  readonly serial: Uint8Array;
  readonly digest: string;
}

/** The second of the two steps: signs what has been prepared. */
export function signPrepared(
  prepared: PreparedX509,
  { signatureAlgorithm }: IssuerProfile,
  sign: (tbs: Uint8Array) => Uint8Array,
): SignedX509 {
  const certificate = assembleCertificate(prepared.tbs, signatureAlgorithm, sign(prepared.tbs));
  return { certificate, spiffeId: prepared.spiffeId.toString(), serial: prepared.serial, digest: prepared.digest };
}

/** Both steps on this thread; for one's own mistakes in one order the others do not suffer. */
export function signHere(
  order: X509Order,
  profile: IssuerProfile,
  sign: (tbs: Uint8Array) => Uint8Array,
): SignedX509 | IdentityError {
  try {
    return signPrepared(prepareX509(order, profile), profile, sign);
  } catch (error) {
    return failureOf(error);
  }
}

/** Both steps with a key that answers later. */
export async function signElsewhere(
  order: X509Order,
  profile: IssuerProfile,
  key: SigningKey,
): Promise<SignedX509 | IdentityError> {
  try {
    const prepared = prepareX509(order, profile);
    const signature = await key.sign(prepared.tbs, 'der');
    return signPrepared(prepared, profile, () => signature);
  } catch (error) {
    return failureOf(error);
  }
}

/** What the caller of one order is told; anything unforeseen is told without its text. */
export function failureOf(error: unknown): IdentityError {
  return isIdentityError(error) ? error : new IdentityError('internal', 'the certificate could not be made', { cause: error });
}
