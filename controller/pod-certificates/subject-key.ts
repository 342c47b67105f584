import { constants, verify } from 'node:crypto';

import { IdentityError } from '../../core/errors.ts';
import { parseCsr, verifyCsr } from '../../spiffe/csr.ts';
import { parsePublicKey, type PublicKeyInfo } from '../../spiffe/public-key.ts';
import type { CertificateRequest } from './certificate-request.ts';
import { RequestRefused, UNSUPPORTED_KEY_TYPE } from './refusal.ts';

/** Length of an empty Name in DER. */
const EMPTY_NAME_BYTES = 2;

/**
 * The key that the certificate is asked for, proven: the API server checks the proof when the request is made, and it is
 * checked again here, because the CA takes our word for it.
 *
 * @returns the SubjectPublicKeyInfo, DER
 * @throws RequestRefused `Denied`
 */
export function subjectKeyOf(request: CertificateRequest): Uint8Array {
  const { stubPkcs10Request, pkixPublicKey, proofOfPossession, podUid } = request;
  if (stubPkcs10Request !== undefined) return keyOfCsr(stubPkcs10Request);
  if (pkixPublicKey === undefined || proofOfPossession === undefined) {
    throw denied('InvalidRequest', 'the request holds neither a CSR nor a public key with a proof of possession');
  }
  const key = readKey(() => parsePublicKey(pkixPublicKey, 'spec.pkixPublicKey'));
  if (!provesPossession(key, Buffer.from(podUid), proofOfPossession)) {
    throw denied('InvalidProofOfPossession', "spec.proofOfPossession is not the key's signature over the pod's UID");
  }
  return pkixPublicKey;
}

function keyOfCsr(der: Uint8Array): Uint8Array {
  const csr = readKey(() => parseCsr(der, 'spec.stubPKCS10Request'));
  if (csr.uriSans.length + csr.dnsSans.length > 0 || csr.subjectRaw.length > EMPTY_NAME_BYTES) {
    const message =
      'spec.stubPKCS10Request asks for names; a pod has the names of its registered identity, whatever is asked for';
    throw denied('InvalidRequest', message);
  }
  try {
    verifyCsr(csr, 'spec.stubPKCS10Request');
  } catch (error) {
    throw error instanceof IdentityError ? denied('InvalidProofOfPossession', error.message) : error;
  }
  return csr.spki;
}

function readKey<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    throw denied(UNSUPPORTED_KEY_TYPE, `${error.message}; ECDSAP256 is a good choice for keyType`);
  }
}

/** As kubelets sign it: ECDSA and RSA-PSS over SHA-256, or Ed25519. */
function provesPossession(info: PublicKeyInfo, message: Uint8Array, signature: Uint8Array): boolean {
  const key = readKey(() => info.keyObject());
  if (info.kind === 'ed25519') return verify(null, message, key, signature);
  if (info.kind !== 'rsa') return verify('sha256', message, key, signature);
  const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_AUTO: saltLength } = constants;
  return verify('sha256', message, { key, padding, saltLength }, signature);
}

function denied(reason: string, message: string): RequestRefused {
  return new RequestRefused('Denied', reason, message);
}
