import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { IdentityError } from '../core/errors.ts';
import type { BundleSource } from './bundle.ts';
import { parseCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { findCertificationPath } from './certification-path.ts';
import { decodePem } from './pem.ts';
import { parseSpiffeId } from './spiffe-id.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** Most certificates that are read from one presented chain. */
const MAX_CHAIN_CERTIFICATES = 16;

/** What a verified X509-SVID proves. */
export interface VerifiedX509Svid {
  readonly id: SpiffeId;
  readonly leaf: Certificate;
  /** The path that was validated, leaf first, authority last. */
  readonly path: readonly Certificate[];
  /** When the first certificate of the path ends, in milliseconds. */
  readonly expiresAtMs: number;
}

/**
 * Verifies a presented chain, leaf first, against the bundle of the ID's own trust domain (X509-SVID §5). Nothing is cached.
 *
 * @param chainDer leaf first; what follows may be in any order
 * @throws IdentityError `invalid_argument` for what cannot be read, `unauthenticated` for what is not to be trusted
 * @example
 * const { id } = verifyX509Svid([leafDer], bundles, clock.nowMs());
 */
export function verifyX509Svid(chainDer: readonly Uint8Array[], bundles: BundleSource, nowMs: number): VerifiedX509Svid {
  const [leaf, ...intermediates] = parseChain(chainDer);
  const id = leafIdOf(leaf, 'unauthenticated');
  const bundle = bundles.bundleOf(id.trustDomain);
  if (bundle === undefined) {
    throw new IdentityError(
      'unauthenticated',
      `X.509-SVID is not trusted: no bundle for the trust domain "${id.trustDomain.name}"`,
    );
  }
  // Reading the key refuses one that is too weak or too large before it is used for anything.
  void leaf.publicKeyInfo;
  const authorities = bundle.x509Authorities.map((authority) => authority.certificate);
  const path = findCertificationPath({ leaf, intermediates, authorities, nowMs });
  return { id, leaf, path, expiresAtMs: Math.min(...path.map(({ notAfterMs }) => notAfterMs)) };
}

function parseChain(chainDer: readonly Uint8Array[]): readonly [Certificate, ...Certificate[]] {
  if (chainDer.length > MAX_CHAIN_CERTIFICATES) {
    const message = `has more than ${MAX_CHAIN_CERTIFICATES} certificates`;
    throw new IdentityError('invalid_argument', message, { field: 'certificates' });
  }
  const [leaf, ...rest] = chainDer.map((der, index) => parseCertificate(der, `certificates[${index}]`));
  if (leaf === undefined) throw new IdentityError('invalid_argument', 'has no certificate', { field: 'certificates' });
  return [leaf, ...rest];
}

/** The SPIFFE ID of a leaf, and the rules that make it one (X509-SVID §2, §3.1, §4.1, §4.3, §5.2). */
function leafIdOf(leaf: Certificate, code: 'unauthenticated' | 'invalid_argument'): SpiffeId {
  const fault = (message: string): IdentityError => new IdentityError(code, `X.509-SVID is not valid: ${message}`);
  const [uri, ...more] = leaf.uriSans;
  if (uri === undefined) throw fault('it has no URI name');
  if (more.length > 0) throw fault('it has more than one URI name');
  if (leaf.isCa) throw fault('its certificate is a CA');
  if (leaf.keyUsage === undefined) throw fault('its certificate has no key usage');
  if (leaf.keyUsage.has('keyCertSign') || leaf.keyUsage.has('cRLSign')) throw fault('its key may sign certificates or CRLs');
  if (!leaf.keyUsage.has('digitalSignature')) throw fault('its key usage lacks digitalSignature');
  const id = parseLeafUri(uri, code);
  if (id.path === '') throw fault('its SPIFFE ID has no path');
  return id;
}

function parseLeafUri(uri: string, code: 'unauthenticated' | 'invalid_argument'): SpiffeId {
  try {
    return parseSpiffeId(uri, 'uri_san');
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : '';
    throw new IdentityError(code, `X.509-SVID is not valid: its URI name is no SPIFFE ID (${detail})`, { cause });
  }
}

/** An X509-SVID with its private key, as a workload holds it. */
export interface X509Svid {
  readonly id: SpiffeId;
  /** Leaf first. */
  readonly chain: readonly Certificate[];
  readonly privateKey: KeyObject;
  /** When the leaf ends, in milliseconds. */
  readonly expiresAtMs: number;
}

/**
 * Reads an X509-SVID as the Workload API delivers it. It is not verified against a bundle.
 *
 * @throws IdentityError `invalid_argument`, also when the leaf breaks a rule of X509-SVID or the key is not the leaf's
 */
export function parseX509Svid(chainDer: readonly Uint8Array[], privateKey: KeyObject): X509Svid {
  const chain = parseChain(chainDer);
  const [leaf, ...signers] = chain;
  const id = leafIdOf(leaf, 'invalid_argument');
  if (signers.some((signer) => !signer.isCa)) {
    throw new IdentityError('invalid_argument', 'a certificate after the first is no CA', { field: 'certificates' });
  }
  if (!createPublicKey(privateKey).equals(leaf.publicKey())) {
    throw new IdentityError('invalid_argument', "is not the private key of the chain's first certificate", {
      field: 'private_key',
    });
  }
  return { id, chain, privateKey, expiresAtMs: leaf.notAfterMs };
}

/**
 * Reads an X509-SVID from PEM: certificates, leaf first, and a PKCS#8 key.
 *
 * @throws IdentityError `invalid_argument`; the key never is in the message
 */
export function parseX509SvidPem(certificatesPem: string, privateKeyPem: string): X509Svid {
  const [keyDer] = decodePem(privateKeyPem, 'PRIVATE KEY', 'private_key');
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: Buffer.from(keyDer ?? []), format: 'der', type: 'pkcs8' });
  } catch {
    // The cause is dropped on purpose: nothing about the key may travel further.
    throw new IdentityError('invalid_argument', 'is no PKCS#8 private key', { field: 'private_key' });
  }
  return parseX509Svid(decodePem(certificatesPem, 'CERTIFICATE', 'certificates'), privateKey);
}
