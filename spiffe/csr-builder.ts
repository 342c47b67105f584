import { contextConstructedTag, contextTag } from './der.ts';
import { derAscii, derBitString, derOctetString, derOid, derSequence, derSet, derSmallInteger, der } from './der-writer.ts';
import { encodeSignatureAlgorithm } from './signature-algorithm.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { signWith, type KeyPair } from './key-pair.ts';

const VERSION_1 = derSmallInteger(0);
const EMPTY_NAME = derSequence();
const EXTENSION_REQUEST = derOid('1.2.840.113549.1.9.14');
const SUBJECT_ALT_NAME = derOid('2.5.29.17');
const DNS_NAME_TAG = contextTag(2);
const URI_NAME_TAG = contextTag(6);
const ATTRIBUTES_TAG = contextConstructedTag(0);

/**
 * Builds and signs a PKCS#10 request (RFC 2986) for an X509-SVID: no subject, and the SPIFFE ID as its only URI among the
 * subject alternative names. Without an ID the CA decides on it, as it does for agents.
 */
export function buildCsr(pair: KeyPair, id?: SpiffeId, dnsNames: readonly string[] = []): Uint8Array {
  const attributes = id === undefined ? der(ATTRIBUTES_TAG) : der(ATTRIBUTES_TAG, extensionRequest(id, dnsNames));
  const info = derSequence(VERSION_1, EMPTY_NAME, pair.spki, attributes);
  return derSequence(info, encodeSignatureAlgorithm('ecdsa-with-SHA256'), derBitString(signWith(pair, info)));
}

function extensionRequest(id: SpiffeId, dnsNames: readonly string[]): Uint8Array {
  const names = derSequence(derAscii(URI_NAME_TAG, id.toString()), ...dnsNames.map((name) => derAscii(DNS_NAME_TAG, name)));
  const extension = derSequence(SUBJECT_ALT_NAME, derOctetString(names));
  return derSequence(EXTENSION_REQUEST, derSet(derSequence(extension)));
}
