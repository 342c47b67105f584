import { sign } from 'node:crypto';
import { encodeExtension, encodeSubjectAltName } from '../../spiffe/certificate-writer.ts';
import { contextConstructedTag } from '../../spiffe/der.ts';
import { der, derBitString, derOid, derSequence, derSet, derSmallInteger } from '../../spiffe/der-writer.ts';
import { encodeName } from '../../spiffe/distinguished-name.ts';
import type { Subject } from '../../spiffe/distinguished-name.ts';
import { encodeSignatureAlgorithm } from '../../spiffe/signature-algorithm.ts';
import type { CertificateSignatureAlgorithm } from '../../spiffe/signature-algorithm.ts';
import { createTestKey } from './test-keys.ts';
import type { TestKey } from './test-keys.ts';

/** Everything that a test may bend about a CSR. */
export interface CsrOptions {
  readonly key?: TestKey;
  readonly version?: number;
  readonly subject?: Subject;
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly extraExtensions?: readonly Uint8Array[];
  /** Attributes instead of the extension request, DER. */
  readonly attributes?: readonly Uint8Array[];
  /** Signs with this key instead of the CSR's own. */
  readonly signingKey?: TestKey;
  readonly signatureAlgorithm?: CertificateSignatureAlgorithm;
}

/** A certificate signing request, DER. */
export function createTestCsr(options: CsrOptions = {}): Uint8Array {
  const key = options.key ?? createTestKey();
  const algorithm = options.signatureAlgorithm ?? algorithmOf(options.signingKey ?? key);
  const info = derSequence(
    derSmallInteger(options.version ?? 0),
    encodeName(options.subject ?? {}),
    key.spki,
    der(contextConstructedTag(0), ...(options.attributes ?? [extensionRequest(requestedExtensions(options))])),
  );
  const hash = /(?:sha|SHA)(256|384|512)/.exec(algorithm)?.[1];
  const signature = sign(hash === undefined ? null : `sha${hash}`, info, (options.signingKey ?? key).privateKey);
  return derSequence(info, encodeSignatureAlgorithm(algorithm), derBitString(signature));
}

/** The attribute extensionRequest (RFC 2985 §5.4.2) with these extensions. */
export function extensionRequest(extensions: readonly Uint8Array[]): Uint8Array {
  return derSequence(derOid('1.2.840.113549.1.9.14'), derSet(derSequence(...extensions)));
}

function requestedExtensions(options: CsrOptions): readonly Uint8Array[] {
  const { uris = ['spiffe://example.org/workload'], dnsNames = [], extraExtensions = [] } = options;
  const isNamed = uris.length + dnsNames.length > 0;
  // An extension request is never empty; a comment stands in where no name is asked for.
  const filler = isNamed || extraExtensions.length > 0 ? [] : [encodeExtension('2.16.840.1.113730.1.13', derSequence(), false)];
  return [...(isNamed ? [encodeSubjectAltName({ dnsNames, uris }, false)] : []), ...extraExtensions, ...filler];
}

function algorithmOf({ kind }: TestKey): CertificateSignatureAlgorithm {
  if (kind === 'Ed25519') return 'ed25519';
  if (kind.startsWith('RSA')) return 'sha256WithRSAEncryption';
  return kind === 'P-521' ? 'ecdsa-with-SHA512' : kind === 'P-384' ? 'ecdsa-with-SHA384' : 'ecdsa-with-SHA256';
}
