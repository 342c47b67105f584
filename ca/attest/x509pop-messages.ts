import { IdentityError } from '../../core/errors.ts';

/** Length of both nonces, in bytes. */
export const NONCE_BYTES = 32;

/** The kinds of key that can answer a challenge; also the names of the message fields. */
export type ChallengeKind = 'rsa_signature' | 'ecdsa_signature';

/** What the node answered, by the kind of its key. */
export type ChallengeResponse =
  | { readonly kind: 'rsa_signature'; readonly nonce: Uint8Array; readonly signature: Uint8Array }
  | { readonly kind: 'ecdsa_signature'; readonly nonce: Uint8Array; readonly r: Uint8Array; readonly s: Uint8Array };

/**
 * The attestation payload: the node's certificate chain, leaf first, as JSON `{"certificates": [base64 DER]}`.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseAttestationPayload(payload: Uint8Array): readonly Uint8Array[] {
  const { certificates } = parseJson(payload, 'payload');
  if (certificates === undefined || certificates === null) return [];
  if (!Array.isArray(certificates))
    throw new IdentityError('invalid_argument', 'must be a list', { field: 'payload.certificates' });
  return certificates.map((text, index) => parseBase64(text, `payload.certificates[${index}]`));
}

/** The challenge as the agent reads it. */
export function formatChallenge(kind: ChallengeKind, nonce: Uint8Array): Uint8Array {
  const other = kind === 'rsa_signature' ? 'ecdsa_signature' : 'rsa_signature';
  return Buffer.from(JSON.stringify({ [kind]: { nonce: Buffer.from(nonce).toString('base64') }, [other]: null }));
}

/** Reads the answer to a challenge of this kind. @throws IdentityError `invalid_argument`; `permission_denied` when it is of another kind */
export function parseChallengeResponse(json: Uint8Array, kind: ChallengeKind): ChallengeResponse {
  const response = parseJson(json, 'challenge_response')[kind];
  if (!isMapping(response)) throw new IdentityError('permission_denied', `challenge response lacks ${kind}`);
  const nonce = parseBase64(response['nonce'], `challenge_response.${kind}.nonce`);
  if (nonce.length !== NONCE_BYTES) throw new IdentityError('permission_denied', 'challenge response has an invalid nonce');
  const read = (name: string): Uint8Array => parseBase64(response[name], `challenge_response.${kind}.${name}`);
  return kind === 'rsa_signature' ? { kind, nonce, signature: read('signature') } : { kind, nonce, r: read('r'), s: read('s') };
}

function parseJson(json: Uint8Array, field: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(json).toString('utf8'));
    if (isMapping(value)) return value;
  } catch (cause) {
    throw new IdentityError('invalid_argument', 'is no valid JSON', { field, cause });
  }
  throw new IdentityError('invalid_argument', 'must be a JSON object', { field });
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function parseBase64(text: unknown, field: string): Uint8Array {
  if (text === undefined || text === null) return new Uint8Array();
  if (typeof text !== 'string' || !BASE64.test(text)) throw new IdentityError('invalid_argument', 'must be base64', { field });
  return Buffer.from(text, 'base64');
}
