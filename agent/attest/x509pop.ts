import { constants, createPrivateKey, randomBytes, sign, type KeyObject } from 'node:crypto';

import { decode, map, object, optional, string } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { parsePemCertificates } from '../../spiffe/certificate.ts';
import type { NodeAttestor } from './node-attestor.ts';
import { readSecret } from '../../runtime/secret-file.ts';

/** Where the node's certificate and key are. */
export interface X509PopFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly intermediatesFile: string | undefined;
}

const NONCE_BYTES = 32;
const nonce = map(string(), (text) => {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== NONCE_BYTES) throw new IdentityError('invalid_argument', `nonce must be ${NONCE_BYTES} bytes`);
  return bytes;
});
const CHALLENGE = object({
  rsa_signature: optional(object({ nonce })),
  ecdsa_signature: optional(object({ nonce })),
});

/**
 * Attests with an X.509 certificate of the node and proof that the agent has its key, by SPIRE's protocol `x509pop`: JSON
 * payloads, byte strings in base64; the signature covers SHA-256 of the CA's nonce and ours.
 */
export function createX509Pop(files: X509PopFiles): NodeAttestor {
  return {
    type: 'x509pop',
    remedy: `is ${files.certFile} a certificate of the roots that attestors.x509pop of the CA names?`,
    async prepare() {
      const pems = [await readSecret(files.certFile, 'x509pop certificate')];
      if (files.intermediatesFile !== undefined) pems.push(await readSecret(files.intermediatesFile, 'x509pop intermediates'));
      const key = importKey(await readSecret(files.keyFile, 'x509pop key'), files.keyFile);
      const certificates = pems.flatMap((pem) => parsePemCertificates(pem)).map(({ raw }) => Buffer.from(raw).toString('base64'));
      return { payload: json({ certificates }), answer: (challenge) => answerChallenge(key, challenge) };
    },
  };
}

function importKey(pem: string, file: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // The cause is left out: it may quote the key.
    throw new IdentityError('failed_precondition', `${file} holds no private key in PEM`);
  }
}

/** The answer to a challenge of the CA. @throws IdentityError when the challenge is malformed or of another kind of key */
export function answerChallenge(key: KeyObject, challenge: Uint8Array): Uint8Array {
  const { rsa_signature: rsa, ecdsa_signature: ecdsa } = decode(CHALLENGE, JSON.parse(Buffer.from(challenge).toString('utf8')));
  if (key.asymmetricKeyType === 'rsa' && rsa !== undefined) return json({ rsa_signature: answerRsa(key, rsa.nonce) });
  if (key.asymmetricKeyType === 'ec' && ecdsa !== undefined) return json({ ecdsa_signature: answerEcdsa(key, ecdsa.nonce) });
  throw new IdentityError('failed_precondition', `the CA sent no challenge for a key of kind ${key.asymmetricKeyType}`);
}

// Go signs the SHA-256 of both nonces; node:crypto hashes what it is given, so it gets the nonces themselves.
function answerRsa(key: KeyObject, theirs: Buffer): object {
  const ours = randomBytes(NONCE_BYTES);
  const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN };
  const signature = sign('sha256', Buffer.concat([theirs, ours]), { key, ...padding });
  return { nonce: ours.toString('base64'), signature: signature.toString('base64') };
}

function answerEcdsa(key: KeyObject, theirs: Buffer): object {
  const ours = randomBytes(NONCE_BYTES);
  const signature = sign('sha256', Buffer.concat([theirs, ours]), { key, dsaEncoding: 'ieee-p1363' });
  const half = signature.length / 2;
  return {
    nonce: ours.toString('base64'),
    r: signature.subarray(0, half).toString('base64'),
    s: signature.subarray(half).toString('base64'),
  };
}

function json(value: object): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8');
}
